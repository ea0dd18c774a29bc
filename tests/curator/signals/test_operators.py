"""What every row operator promises: reasons from signals, thresholds that switch off, an honest ranking."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import TypeAdapter, ValidationError

from curator.signals import signal_names
from curator.signals.benchmarks import BENCHMARK_SIGNALS
from curator.signals.operators import ROW_OPERATORS, RowOperator
from curator.signals.types import RowRule
from curator.signals.word_list import LIST_SIGNALS

VALUES = st.one_of(st.floats(0, 2, width=32), st.floats(0, 1e6, width=32), st.just(float("nan")))


def columns_of(operator: type[RowRule], values: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip(operator.signals, values, strict=True))


@pytest.mark.parametrize("operator", ROW_OPERATORS, ids=lambda operator: operator.__name__)
class TestEveryOperator:
    def test_is_in_the_union(self, operator: type[RowRule]) -> None:
        kind = operator.model_fields["kind"].default
        assert TypeAdapter(RowOperator).validate_python({"kind": kind}) == operator()

    def test_reads_signals_that_exist(self, operator: type[RowRule]) -> None:
        assert set(operator.signals) <= {*signal_names(), *BENCHMARK_SIGNALS, *LIST_SIGNALS}
        assert {bound.signal for bound in operator().bounds()} <= set(operator.signals)

    def test_names_its_reasons(self, operator: type[RowRule]) -> None:
        blank = {name: np.zeros(1, np.float32) for name in operator.signals}
        assert list(operator().fired(blank)) == list(operator.reasons)
        assert all(text and "\n" not in text for text in operator.reasons.values())

    def test_refuses_unknown_keys_and_changes(self, operator: type[RowRule]) -> None:
        with pytest.raises(ValidationError, match="Extra inputs"):
            operator(min_wrods=3)  # type: ignore[call-arg]
        with pytest.raises(ValidationError, match="frozen"):
            operator().kind = "other"  # type: ignore[attr-defined]

    def test_cannot_say_is_not_fired(self, operator: type[RowRule]) -> None:
        unknown = {name: np.full(3, np.nan, np.float32) for name in operator.signals}
        assert not any(mask.any() for mask in operator().fired(unknown).values())
        assert np.isnan(operator().badness(unknown)).all()

    def test_no_rows(self, operator: type[RowRule]) -> None:
        empty = {name: np.zeros(0, np.float32) for name in operator.signals}
        assert all(mask.shape == (0,) and mask.dtype == bool for mask in operator().fired(empty).values())
        assert operator().badness(empty).shape == (0,)

    def test_badness_is_positive_exactly_where_a_reason_fires(self, operator: type[RowRule]) -> None:
        @given(hnp.arrays(np.float32, (len(operator.signals), 6), elements=VALUES))
        def law(values: np.ndarray) -> None:
            columns = columns_of(operator, values)
            fired = np.logical_or.reduce(list(operator().fired(columns).values()))
            badness = operator().badness(columns)
            assert badness.dtype == np.float32
            np.testing.assert_array_equal(badness > 0, fired)

        law()

    def test_thresholds_can_be_switched_off(self, operator: type[RowRule]) -> None:
        switches = [
            name
            for name, field in operator.model_fields.items()
            if type(None) in getattr(field.annotation, "__args__", ())
        ]
        for worst in (0.0, 1e9):
            columns = {name: np.full(1, worst, np.float32) for name in operator.signals}
            off = operator(**dict.fromkeys(switches))
            if len(switches) == len(off.bounds()):
                assert not any(mask.any() for mask in off.fired(columns).values())
                assert list(off.fired(columns)) == list(operator.reasons)
            for name in switches:
                alone = operator(**{other: None for other in switches if other != name})
                assert sum(mask.any() for mask in alone.fired(columns).values()) <= 1


def test_reasons_and_kinds_are_unique() -> None:
    reasons = [reason for operator in ROW_OPERATORS for reason in operator.reasons]
    kinds = [operator.model_fields["kind"].default for operator in ROW_OPERATORS]
    assert len(reasons) == len(set(reasons))
    assert len(kinds) == len(set(kinds))


def test_a_share_on_the_threshold_does_not_fire() -> None:
    from curator.signals.gopher import GopherRepetition

    columns = {name: np.zeros(3, np.float32) for name in GopherRepetition.signals}
    columns["top_2_gram_char_share"] = np.array([1 / 5, np.nextafter(np.float32(0.2), 1), 0.4], np.float32)
    assert GopherRepetition().fired(columns)["gopher_top_2_gram"].tolist() == [False, True, True]
    assert GopherRepetition().badness(columns)[[0, 2]] == pytest.approx([0, 1])
