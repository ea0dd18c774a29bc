"""What the lines of a text say: repeated lines and paragraphs, bullets, ellipses, ends without punctuation.

Knows lines, not words. Definitions follow MassiveText (Rae et al. 2021, section A1.1) and FineWeb (Penedo et al. 2024)
as the datatrove library counts them; their slow twins, tests/curator/signals/text/reference.py, spell them out.
"""

# mypy: allow-untyped-defs, no-check-untyped-defs
from __future__ import annotations

from collections.abc import Collection
from typing import Final

import numpy as np

from curator.signals.buffers import RowBytes
from curator.signals.text.bytescan import (
    E1,
    E8,
    ONES,
    byte_equal,
    code_point,
    count_chars,
    empty_table,
    first_byte,
    first_equal,
    hash_bytes,
    inner,
    lean,
    load_word,
    strip_left,
    strip_right,
    table_size,
)
from curator.signals.text.family import Family
from curator.signals.text.unicode import TERMINAL, char_classes

__all__ = ["LINES", "SHORT_LINE_CHARS"]

SHORT_LINE_CHARS: Final = 30
"""A line of at most so many characters is short (FineWeb)."""

SIGNALS: Final = {
    "num_lines": "lines that hold more than whitespace",
    "duplicate_line_share": "lines seen before in the text, per line (Gopher)",
    "duplicate_line_char_share": "characters of such lines per character (Gopher)",
    "duplicate_paragraph_share": "paragraphs seen before, per paragraph; paragraphs lie between blank lines (Gopher)",
    "duplicate_paragraph_char_share": "characters of such paragraphs per character (Gopher)",
    "bullet_line_share": "lines that begin with • or -, per line (Gopher)",
    "ellipsis_line_share": "lines that end with an ellipsis, per line (Gopher)",
    "terminal_line_share": "non-blank lines that end with terminal punctuation, per non-blank line (FineWeb)",
    "short_line_share": "non-blank lines of at most 30 characters, per non-blank line (FineWeb)",
    "duplicate_stripped_char_share": "characters of non-blank lines seen before, per character of all (FineWeb)",
}

_NEWLINES = ONES * np.uint64(10)
_PARAGRAPH = np.uint64(0x51ED270B9F6A1D3B)
_MIX = np.uint64(0x9E3779B97F4A7C15)


@lean
def most_newlines(data, offsets):
    """The largest number of newlines in a row."""
    most = 0
    for row in range(offsets.size - 1):
        count = 0
        for byte in data[offsets[row] : offsets[row + 1]]:
            count += byte == 10
        most = max(most, count)
    return most


@inner
def split_lines(data, start, stop, starts, ends):
    """Fills the bounds of the pieces between newlines and returns their number, one more than there are newlines."""
    count = 0
    begin = start
    at = start
    while at < stop:
        flags = byte_equal(load_word(data, at, stop), _NEWLINES)
        while flags:
            end = at + first_byte(flags)
            starts[count], ends[count] = begin, end
            count += 1
            begin = end + E1
            flags &= flags - E1
        at += E8
    starts[count], ends[count] = begin, stop
    return count + 1


@inner
def _duplicate_lines(data, starts, ends, num_pieces, hashes, sizes, table, keys):
    """(lines, duplicates, their characters) of re.split("\\n+", text): an empty piece counts only at the very ends.

    Fills hashes (uint64) and sizes (int64, characters) of all pieces.
    """
    mask = empty_table(table, num_pieces)
    lines = duplicates = chars = 0
    for k in range(num_pieces):
        hashes[k], sizes[k] = E1, 0
        if ends[k] > starts[k]:
            hashes[k] = hash_bytes(data, starts[k], ends[k])
            sizes[k] = np.int64(count_chars(data, starts[k], ends[k]))
            keys[lines] = hashes[k]
            if first_equal(table, mask, keys, lines) != lines:
                duplicates += 1
                chars += sizes[k]
            lines += 1
    if num_pieces > 1:
        leading = ends[0] == starts[0]
        trailing = ends[num_pieces - 1] == starts[num_pieces - 1]
        lines += leading + trailing
        duplicates += leading and trailing
    return lines, duplicates, chars


@inner
def _duplicate_paragraphs(data, start, stop, starts, ends, num_pieces, hashes, sizes, table, keys):
    """(paragraphs, duplicates, their characters) of re.split("\\n{2,}", text.strip()): equal lines make equal ones."""
    start = strip_left(data, start, stop)
    stop = strip_right(data, start, stop)
    mask = empty_table(table, num_pieces)
    paragraphs = duplicates = chars = 0
    k = 0
    while k < num_pieces and starts[k] < stop:
        if ends[k] <= start or ends[k] == starts[k]:
            k += 1
            continue
        key, size = _PARAGRAPH, -1
        while k < num_pieces and ends[k] > starts[k] and starts[k] < stop:
            begin, end = max(starts[k], start), min(ends[k], stop)
            if begin == starts[k] and end == ends[k]:
                key, size = key ^ hashes[k], size + sizes[k] + 1
            else:
                key, size = key ^ hash_bytes(data, begin, end), size + np.int64(count_chars(data, begin, end)) + 1
            key *= _MIX
            key ^= key >> np.uint64(32)
            k += 1
        keys[paragraphs] = key
        if first_equal(table, mask, keys, paragraphs) != paragraphs:
            duplicates += 1
            chars += size
        paragraphs += 1
    return paragraphs, duplicates, chars


@inner
def _last_code_point(data, start, stop):
    at = stop - E1
    while at > start and (data[at] & 0xC0) == 0x80:
        at -= E1
    return code_point(data, at)[0]


@inner
def _marks(data, begin, end):
    """(begins with a bullet, ends with an ellipsis) of a stripped, non-empty line."""
    size = end - begin
    bullet = data[begin] == 45
    if not bullet and data[begin] == 0xE2 and size >= np.uint64(3):
        bullet = data[begin + E1] == 0x80 and data[begin + np.uint64(2)] == 0xA2
    if size < np.uint64(3):
        return bullet, False
    x, y, z = data[end - np.uint64(3)], data[end - np.uint64(2)], data[end - E1]
    return bullet, (x == 46 and y == 46 and z == 46) or (x == 0xE2 and y == 0x80 and z == 0xA6)


@inner
def _stripped_lines(data, starts, ends, num_pieces, hashes, sizes, classes, table, keys, counts):
    """counts = lines, bullets, ellipses, terminal, short, duplicate characters, characters; of stripped lines."""
    mask = empty_table(table, num_pieces)
    counts[:] = 0
    for k in range(num_pieces):
        begin = strip_left(data, starts[k], ends[k])
        if begin == ends[k]:
            continue
        end = strip_right(data, begin, ends[k])
        key, chars = hashes[k], sizes[k]
        if begin != starts[k] or end != ends[k]:
            key, chars = hash_bytes(data, begin, end), np.int64(count_chars(data, begin, end))
        bullet, ellipsis = _marks(data, begin, end)
        line = counts[0]
        keys[line] = key
        counts[0] += 1
        counts[1] += bullet
        counts[2] += ellipsis
        counts[3] += (classes[_last_code_point(data, begin, end)] & TERMINAL) != 0
        counts[4] += chars <= SHORT_LINE_CHARS
        if first_equal(table, mask, keys, line) != line:
            counts[5] += chars
        counts[6] += chars


@lean
def _lines(data, offsets, classes, starts, ends, hashes, sizes, keys, table, counts, out):
    for row in range(offsets.size - 1):
        start, stop = np.uint64(offsets[row]), np.uint64(offsets[row + 1])
        out[row, 0] = 0
        out[row, 1:] = np.nan
        if start == stop:
            continue
        chars = np.int64(count_chars(data, start, stop))
        pieces = split_lines(data, start, stop, starts, ends)
        lines, duplicates, dup_chars = _duplicate_lines(data, starts, ends, pieces, hashes, sizes, table, keys)
        out[row, 1] = duplicates / lines
        out[row, 2] = dup_chars / chars
        paragraphs, duplicates, dup_chars = _duplicate_paragraphs(
            data, start, stop, starts, ends, pieces, hashes, sizes, table, keys
        )
        out[row, 3] = duplicates / max(paragraphs, 1)
        out[row, 4] = dup_chars / chars
        _stripped_lines(data, starts, ends, pieces, hashes, sizes, classes, table, keys, counts)
        out[row, 0] = counts[0]
        all_lines = pieces - (data[stop - E1] == 10)
        out[row, 5] = counts[1] / all_lines
        out[row, 6] = counts[2] / all_lines
        if counts[0]:
            out[row, 7] = counts[3] / counts[0]
            out[row, 8] = counts[4] / counts[0]
            out[row, 9] = counts[5] / counts[6]


def _score(rows: RowBytes, _: Collection[str]) -> np.ndarray:
    most = most_newlines(rows.data, rows.offsets) + 1
    starts, ends, hashes, keys = np.empty((4, most), np.uint64)
    out = np.empty((len(rows), len(SIGNALS)), np.float32)
    table, counts = np.empty(table_size(most), np.int32), np.zeros(7, np.int64)
    _lines(
        rows.data,
        rows.offsets,
        char_classes(),
        starts,
        ends,
        hashes,
        np.empty(most, np.int64),
        keys,
        table,
        counts,
        out,
    )
    return out


LINES: Final = Family(SIGNALS, _score)
