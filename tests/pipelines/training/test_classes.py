"""The class table: stable, typed, and loud about what it has never seen."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from curator.errors import InputError
from pipelines.training.classes import ClassTable


@pytest.mark.parametrize(
    ("pieces", "labels"),
    [
        ([pa.array([10, 2]), pa.array([2, 33], pa.int64())], (2, 10, 33)),
        ([pa.array(["b", "a"]), pa.chunked_array([["c"], ["a"]])], ("a", "b", "c")),
        ([pa.array(["b", "a"]).dictionary_encode()], ("a", "b")),
        ([pa.array(["b", "a"], pa.large_string())], ("a", "b")),
        ([pa.array([True, False])], (False, True)),
    ],
)
def test_order_depends_on_the_labels_alone(pieces: list[Any], labels: tuple[Any, ...]) -> None:
    assert ClassTable.of(pieces, column="label").labels == labels
    assert ClassTable.of(reversed(pieces), column="label").labels == labels


def test_codes_count_classes() -> None:
    table = ClassTable(("ham", "spam"))
    assert table.codes(pa.array(["spam", "ham", "spam"]), column="y").tolist() == [1, 0, 1]
    assert table.codes(pa.array(["spam"]).dictionary_encode(), column="y").tolist() == [1]
    assert ClassTable((3, 300)).codes(pa.array([300, 3], pa.int16()), column="y").tolist() == [1, 0]
    assert ClassTable((False, True)).codes(pa.array([True]), column="y").tolist() == [1]


def test_an_unseen_label_names_the_sample_and_the_classes() -> None:
    ids = pa.array([b"0" * 16, b"1" * 16], pa.binary(16))
    with pytest.raises(InputError, match=r"label 'eggs' \(sample 3131.*\) is not one of the 2 classes .*'ham', 'spam'"):
        ClassTable(("ham", "spam")).codes(pa.array(["ham", "eggs"]), ids, column="y")
    with pytest.raises(InputError, match="label 300 is not one"):
        ClassTable((1, 2)).codes(pa.array([1, 300]), column="y")
    with pytest.raises(InputError, match="label None"):
        ClassTable((1, 2)).codes(pa.array([1, None]), column="y")


def test_a_wide_table_does_not_fit_narrow_labels_silently() -> None:
    assert ClassTable((1, 300)).codes(pa.array([1], pa.uint8()), column="y").tolist() == [0]


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ([pa.array([1, None])], "a label is null"),
        ([pa.array(["only"])], "only 'only'"),
        ([], "hold none"),
        ([pa.array([1.5, 2.0])], "labels are double"),
    ],
)
def test_labels_that_make_no_classes(values: list[pa.Array], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        ClassTable.of(values, column="y")


def test_text_labels_do_not_meet_a_table_of_numbers() -> None:
    with pytest.raises(InputError, match="labels are string and the class table was made of int64"):
        ClassTable((1, 2)).codes(pa.array(["1"]), column="y")
