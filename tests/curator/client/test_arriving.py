"""A file on its way: the digest is that of what lies there, however it came."""

import hashlib

from hypothesis import given, settings
from hypothesis import strategies as st

from curator.client.arriving import Arriving


@given(st.lists(st.one_of(st.binary(max_size=40), st.none()), max_size=30))
@settings(max_examples=60, deadline=None)
def test_the_digest_is_that_of_the_file(tmp_path_factory, pieces):
    """None stands for a beginning anew."""
    path = tmp_path_factory.mktemp("file") / "x"
    with path.open("w+b") as file:
        one = Arriving(file)
        for piece in pieces:
            if piece is None:
                one.restart()
            else:
                one.write(piece)
        found = one.digest()
        data = path.read_bytes()
        assert one.tell() == len(data)
    last = max((place for place, piece in enumerate(pieces) if piece is None), default=-1)
    assert data == b"".join(pieces[last + 1 :])
    assert found == hashlib.sha256(data).hexdigest()
