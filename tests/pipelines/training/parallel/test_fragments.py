"""The schedule of fragments: every one in turn, merged exactly as stale as agreed, whatever the numbers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipelines.training.parallel.fragments import fragments_of, merged_at, sent_at
from pipelines.training.parallel.kinds import LocalSteps


@st.composite
def kinds(draw: st.DrawFn) -> LocalSteps:
    steps = draw(st.integers(1, 60))
    return LocalSteps(local_steps=steps, fragments=draw(st.integers(1, steps)), delay=draw(st.integers(0, steps - 1)))


@given(kinds(), st.integers(2, 5))
def test_every_fragment_is_sent_once_in_local_steps(kind: LocalSteps, rounds: int) -> None:
    """Counted from where the last of the first round is."""
    first = kind.local_steps
    for number in range(rounds):
        steps = range(first + number * kind.local_steps, first + (number + 1) * kind.local_steps)
        sent = [fragment for step in steps if (fragment := sent_at(step, kind)) is not None]
        assert sorted(sent) == list(range(kind.fragments))


@given(kinds())
def test_staleness_is_the_delay_and_one_exchange_of_a_fragment_is_under_way(kind: LocalSteps) -> None:
    """Walks a job: what is merged was sent `delay` steps before, in order, before its fragment is sent again."""
    under_way: dict[int, int] = {}
    for step in range(1, 4 * kind.local_steps + 1):
        due = merged_at(step, kind) if kind.delay else None
        if due is not None:
            sent, fragment = due
            assert step - sent == kind.delay and under_way.pop(fragment) == sent
        fragment_now = sent_at(step, kind)
        if fragment_now is not None:
            assert fragment_now not in under_way
            if kind.delay:
                under_way[fragment_now] = step
        assert all(step - sent < max(kind.delay, 1) for sent in under_way.values()), "nothing is older than the delay"


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=40), st.integers(1, 12))
def test_fragments_are_runs_that_cover_all(sizes: list[int], fragments: int) -> None:
    runs = fragments_of(sizes, fragments)
    assert [number for run in runs for number in run] == list(range(len(sizes)))
    assert len(runs) <= fragments and all(runs)
    assert all(sum(sizes[number] for number in run) <= sum(sizes) / fragments + max(sizes) for run in runs)
