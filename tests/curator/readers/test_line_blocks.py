"""Blocks of lines: cuts, blank lines, caps, and nesting measured outside strings."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curator.errors import InputError
from curator.readers import LIMITS, Limits, discover, line_blocks
from curator.readers.line_blocks import Block, LineBlocks, _depth, check_block, filled_lines, row_ends

Write = Callable[[str, bytes], str]
values = st.recursive(
    st.none() | st.integers() | st.text(st.sampled_from('[]{}"\\a:,\n é')),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.sampled_from('[{"\\'), max_size=3), inner, max_size=3)
    ),
    max_leaves=12,
)


def depth_of(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


@given(values)
def test_depth_is_what_a_parser_would_find(value: Any) -> None:
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
        assert _depth(text.encode()) == depth_of(value)


def blocks_of(path: str, limits: Limits = LIMITS, *, narrow: bool = False) -> list[Block]:
    blocks = LineBlocks(discover([path])[0], 0, None, 0, limits)
    found = []
    for block in blocks.narrow() if narrow else blocks:
        found.append(block)
        blocks.row += len(filled_lines(block.data))
    return found


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n\n  \n"])
def test_blocks_are_whole_lines_that_put_together_are_the_file(
    write: Write, monkeypatch: pytest.MonkeyPatch, narrow: bool, end: bytes
) -> None:
    monkeypatch.setattr(line_blocks, "CHUNK_BYTES", 64)
    monkeypatch.setattr(line_blocks, "GUESSING_BUDGET", 100)
    data = b"\n".join(b'{"a": "%s"}' % (b"x" * (number % 90)) for number in range(200)) + end
    blocks = blocks_of(write("a.jsonl", data), narrow=narrow)
    assert b"".join(block.data for block in blocks) == data
    assert [block.offset for block in blocks] == [sum(len(b.data) for b in blocks[:n]) for n in range(len(blocks))]
    assert all(block.data.endswith(b"\n") for block in blocks[:-1])
    rows = [len(filled_lines(block.data)) for block in blocks]
    assert [block.first_row for block in blocks] == [sum(rows[:number]) for number in range(len(rows))]
    if narrow:
        assert all(len(block.data) * block.data.count(b"\n") <= 100 or block.data.count(b"\n") <= 1 for block in blocks)


def test_a_line_over_the_cap_names_its_row(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_blocks, "CHUNK_BYTES", 64)
    path = write("a.jsonl", b'{"a": 1}\n\n{"a": 2}\n{"a": "' + b"x" * 500 + b'"}\n')
    with pytest.raises(InputError, match="line of more than 200 bytes") as caught:
        blocks_of(path, Limits(line_bytes=200))
    assert caught.value.row == 2


def test_row_ends_pass_over_blank_lines(write: Write) -> None:
    [source] = discover([write("a.jsonl", b"x")])
    data = b'\n{"a":1}\n  \r\n{"a":2}'
    assert row_ends(Block(data, 0, 0), 2, source).tolist() == [9, len(data)]
    with pytest.raises(InputError, match="3 objects on the 2 lines"):
        row_ends(Block(data, 0, 0), 3, source)


def test_invalid_text_names_the_row_blank_lines_not_counted(write: Write) -> None:
    [source] = discover([write("a.jsonl", b"x")])
    with pytest.raises(InputError, match="not valid UTF-8") as caught:
        check_block(Block(b'{"a":1}\n\n{"a":2}\n{"a":"\xc3("}\n', 0, 40), source, LIMITS)
    assert caught.value.row == 42


def test_nesting_past_the_cap_names_the_row_and_brackets_in_text_do_not_count(write: Write) -> None:
    [source] = discover([write("a.jsonl", b"x")])
    text = json.dumps({"a": '[[[["\\' * 50}).encode()
    check_block(Block(text + b"\n", 0, 0), source, LIMITS)
    deep = b'{"a":' + b"[" * 32 + b"]" * 32 + b"}"
    check_block(Block(text + b"\n\n" + deep[6:-2] + b"\n", 0, 0), source, LIMITS)
    with pytest.raises(InputError, match="nested deeper than 32") as caught:
        check_block(Block(text + b"\n\n" + deep + b"\n", 0, 7), source, LIMITS)
    assert caught.value.row == 8
