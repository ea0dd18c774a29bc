"""The report card of the demo, as plain text. Knows the story, measures nothing."""

from __future__ import annotations

from collections.abc import Iterator

from curator.run import RunSummary
from pipelines.demo.story import Story

__all__ = ["report_card"]

_RULE = "─" * 78


def report_card(story: Story, url: str) -> str:
    """Everything that was shown, on one page."""
    lines = [
        "",
        _RULE,
        "REPORT CARD",
        _RULE,
        *_run(
            "Text: documentation, docstrings and licences of the installed packages", story.text, story.text_examples
        ),
        "",
        *_run(
            "Digits: scikit-learn's handwritten digits, 20% of the training labels wrong",
            story.digits,
            story.digit_examples,
        ),
        "",
        f"  against the known truth: {story.caught:.1%} of the bad rows caught, {story.good_lost:.1%} of the good lost",
        "",
        *_accuracy(story),
        "",
        *_mixes(story),
        "",
        "  seconds: " + ", ".join(f"{name} {seconds}" for name, seconds in story.seconds.items()),
        f"  feedback: {story.feedback_rows} per-sample losses returned by the training job",
        _RULE,
        f"Dashboard: {url}/     REST: {url}/docs",
        "",
    ]
    return "\n".join(lines)


def _run(title: str, run: RunSummary, examples: dict[str, list[str]]) -> Iterator[str]:
    yield title
    yield f"  {run.run} → {run.manifest}, policy {run.policy}"
    yield f"  rows in {run.rows_in} = kept {run.kept} (of them relabelled {run.relabeled}) + dropped {run.dropped}"
    for reason, count in run.reasons.items():
        yield f"  {count:>7}  {reason}"
        for example in examples.get(reason, []):
            yield f"           {example[:100]}"
    yield "  difficulty: " + ", ".join(f"{name} {count}" for name, count in run.difficulty.items())
    yield "  seconds by phase: " + ", ".join(f"{name} {seconds:g}" for name, seconds in run.seconds_by_phase.items())


def _accuracy(story: Story) -> Iterator[str]:
    yield "  test accuracy, same model and steps, mean ± standard error over the seeds:"
    for arm in story.comparison.arms:
        yield f"    trained on {arm.name:<8} {arm.mean:.3f} ± {arm.standard_error:.3f}"


def _mixes(story: Story) -> Iterator[str]:
    yield "  difficulty served by epoch (easy/medium/hard):"
    for epoch, mix in enumerate(story.mixes):
        total = max(sum(mix.values()), 1)
        yield (
            f"    epoch {epoch}: "
            + " / ".join(f"{mix[name] / total:.0%}" for name in ("easy", "medium", "hard"))
            + f" of {total} rows"
        )
