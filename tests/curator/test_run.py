"""The state machine's own laws."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from curator.run import LAWFUL_MOVES, TERMINAL, RunRequest, RunState


def test_every_state_has_its_moves_and_is_reachable() -> None:
    assert set(LAWFUL_MOVES) == set(RunState)
    reached = {RunState.QUEUED}
    while (more := reached.union(*(LAWFUL_MOVES[state] for state in reached))) != reached:
        reached = more
    assert reached == set(RunState)


def test_final_states_are_final_but_for_a_failed_run_that_is_queued_again() -> None:
    assert {state: LAWFUL_MOVES[state] for state in TERMINAL} == {
        RunState.SUCCEEDED: frozenset(),
        RunState.CANCELLED: frozenset(),
        RunState.FAILED: frozenset({RunState.QUEUED}),
    }


def test_every_other_state_can_end() -> None:
    for state in set(RunState) - TERMINAL:
        seen = {state}
        while (more := seen.union(*(LAWFUL_MOVES[item] for item in seen))) != seen:
            seen = more
        assert seen & TERMINAL, state


def test_a_request_needs_inputs_and_knows_its_fields() -> None:
    with pytest.raises(ValidationError):
        RunRequest(inputs=(), recipe={})
    with pytest.raises(ValidationError, match="colour"):
        RunRequest.model_validate({"inputs": ["x"], "recipe": {}, "colour": "red"})
