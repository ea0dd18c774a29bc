"""The report: which steps nothing beats, and the table."""

from __future__ import annotations

from pipelines.training.compress.report import CompressReport, Step, marked, table


def step(name: str, accuracy: float, num_bytes: int, latency_ms: float, kept: bool = True) -> Step:
    return Step(
        name=name, kept=kept, why="why", accuracy=accuracy, mean_loss=0.1, num_parameters=1, num_bytes=num_bytes,
        latency_ms=latency_ms,
    )  # fmt: skip


STEPS = marked(
    [
        step("trained", 0.90, 1000, 1.0),
        step("worse", 0.89, 1000, 1.0),
        step("small", 0.85, 100, 2.0),
        step("lost", 0.95, 10, 0.1, kept=False),
        step("twin", 0.85, 100, 2.0),
    ]
)


def test_what_nothing_kept_beats_is_marked() -> None:
    assert [one.name for one in STEPS if one.pareto] == ["trained", "small", "twin"]


def test_the_table_has_a_line_for_each_step_and_what_came_of_it() -> None:
    report = CompressReport(
        checkpoint="c", recipe="r", kind="text-classifier", out="o", num_held_out=9, num_trained_on=2, steps=STEPS,
        times_smaller=10.0, accuracy_kept=0.944, seconds=1.0,
    )  # fmt: skip
    lines = table(report)
    assert [line.split()[0] for line in lines[1:6]] == [one.name for one in STEPS]
    assert lines[3].split() == ["small", "0.8500", "100", "2.000", "*", "why"]
    assert lines[6] == "10.0 times smaller with 94.40% of the accuracy, on 9 held-out rows; written to o"
    assert lines[7].startswith("left out: 2 rows")
