"""Claims of messages against what the Arrow library finds in them."""

from __future__ import annotations

import contextlib
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curator.readers.ipc_messages import claim_of, record_blocks

TABLE = pa.table(
    {"t": ["a" * 1000, None, "c"] * 100, "n": range(300), "d": pa.array(["u", "v", None] * 100).dictionary_encode()}
)


def footer_of(data: bytes) -> bytes:
    return data[-10 - int.from_bytes(data[-10:-6], "little") : -10]


@pytest.mark.parametrize("compression", [None, "zstd", "lz4"])
def test_claims_are_the_rows_and_plain_bytes(ipc_bytes: Any, compression: str | None) -> None:
    stream = pa.ipc.MessageReader.open_stream(
        pa.BufferReader(ipc_bytes(TABLE, stream=True, batch_rows=128, compression=compression))
    )
    plain = pa.ipc.MessageReader.open_stream(pa.BufferReader(ipc_bytes(TABLE, stream=True, batch_rows=128)))
    rows = 0
    for message, other in zip(stream, plain, strict=True):
        claim, bare = claim_of(message.metadata, message.body), claim_of(other.metadata, other.body)
        assert (claim is None) == (message.type == "schema")
        if claim is None:
            continue
        assert claim == bare
        assert claim.plain_bytes <= other.body.size < claim.plain_bytes + 64 * 10  # the body pads its buffers
        rows += claim.rows if message.type == "record batch" else 0
    assert rows == 300


def test_blocks_of_a_footer_are_where_the_messages_stand(ipc_bytes: Any) -> None:
    data = ipc_bytes(TABLE, batch_rows=100)
    blocks = record_blocks(footer_of(data))
    assert [block.is_dictionary for block in blocks] == [True, False, False, False]
    kinds = [pa.ipc.read_message(pa.BufferReader(data[block.offset :])).type for block in blocks]
    assert kinds == ["dictionary", "record batch", "record batch", "record batch"]


@given(st.binary(max_size=120), st.binary(max_size=40))
def test_noise_is_nonsense_or_a_claim_but_never_another_error(metadata: bytes, body: bytes) -> None:
    with contextlib.suppress(ValueError):
        record_blocks(metadata)
    with contextlib.suppress(ValueError):
        claim_of(pa.py_buffer(metadata), pa.py_buffer(body))


def test_damaged_real_headers_are_nonsense_or_a_claim(ipc_bytes: Any) -> None:
    data = ipc_bytes(TABLE, batch_rows=300, compression="zstd")
    footer = footer_of(data)
    message = pa.ipc.read_message(pa.BufferReader(data[record_blocks(footer)[1].offset :]))
    header = message.metadata.to_pybytes()
    for place in range(len(header)):
        for value in (0, 1, 127, 255):
            damaged = header[:place] + bytes([value]) + header[place + 1 :]
            with contextlib.suppress(ValueError):
                claim_of(pa.py_buffer(damaged), message.body)
    for place in range(len(footer)):
        with contextlib.suppress(ValueError):
            record_blocks(footer[:place] + b"\xff" + footer[place + 1 :])
