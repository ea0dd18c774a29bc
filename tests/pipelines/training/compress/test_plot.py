"""The picture: every step is in it where its figures say, and nothing of a name is obeyed."""

from __future__ import annotations

from xml.etree import ElementTree

from pipelines.training.compress.plot import svg
from pipelines.training.compress.report import marked
from tests.pipelines.training.compress.test_report import step

SPACE = "{http://www.w3.org/2000/svg}"


def test_steps_lie_where_their_figures_say() -> None:
    steps = marked(
        [step("trained", 0.9, 10_000, 1.0), step("small", 0.8, 100, 1.0), step("<b>", 0.5, 1000, 1.0, False)]
    )
    picture = ElementTree.fromstring(svg(steps))
    groups = picture.findall(f"{SPACE}g")
    assert [group.find(f"{SPACE}text").text for group in groups] == ["trained", "small", "<b>"]  # type: ignore[union-attr]
    big, small = (group.find(f"{SPACE}circle").attrib for group in groups[:2])  # type: ignore[union-attr]
    assert float(big["cx"]) > float(small["cx"]) and float(big["cy"]) < float(small["cy"])
    assert groups[2].find(f"{SPACE}circle") is None and groups[2].find(f"{SPACE}path") is not None
    assert "100 bytes" in groups[1].find(f"{SPACE}title").text  # type: ignore[operator, union-attr]


def test_one_step_alone_is_drawn() -> None:
    assert svg(marked([step("trained", 0.9, 100, 1.0)])).count("<circle") == 1
