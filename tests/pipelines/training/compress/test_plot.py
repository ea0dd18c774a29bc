"""The picture: every step is in it where its figures say, and nothing of a name is obeyed."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from pipelines.training.compress.plot import curves, svg
from pipelines.training.compress.recipe import Precision
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


def test_matrices_lie_by_sensitivity_with_a_point_for_each_precision() -> None:
    costs: dict[tuple[str, Precision], float] = {
        ("<head>", "fp16"): 1e-9, ("<head>", "int8"): 1e-3, ("<head>", "int4"): 1e-1,
        ("table", "fp16"): -1e-18, ("table", "int8"): 1e-6, ("table", "int4"): 1e-4,
        ("gain", "fp16"): 1e-9,
    }  # fmt: skip
    rows = ElementTree.fromstring(curves(costs)).findall(f"{SPACE}g")
    assert [row.find(f"{SPACE}text").text for row in rows] == ["table", "<head>"]  # type: ignore[union-attr]
    places = [[float(point.attrib["cx"]) for point in row.findall(f"{SPACE}circle")] for row in rows]
    assert all(own == sorted(own) and len(own) == 3 for own in places)
    assert all(less < more for less, more in zip(*places, strict=True))
    decade = (places[1][2] - places[1][1]) / 2
    assert places[1][1] - places[0][1] == pytest.approx(3 * decade, abs=0.3), "a logarithmic axis"
