"""The rank a process finds itself to be."""

from __future__ import annotations

import pytest

from curator.client.ranks import detected
from curator.errors import RequestError


def test_what_is_given_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "5")
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert detected(1, 2) == (1, 2)
    assert detected(None, None) == (5, 8)


def test_alone_it_is_the_first_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert detected(None, None) == (0, 1)


def test_half_a_rank_is_none() -> None:
    with pytest.raises(RequestError, match="give both or neither"):
        detected(1, None)


def test_a_process_group_comes_before_the_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("torch.distributed")
    fake = pytest.importorskip("torch.testing._internal.distributed.fake_pg")
    monkeypatch.setenv("RANK", "5")
    monkeypatch.setenv("WORLD_SIZE", "8")
    distributed.init_process_group("fake", store=fake.FakeStore(), rank=2, world_size=4)
    try:
        assert detected(None, None) == (2, 4)
        assert detected(1, 2) == (1, 2)
    finally:
        distributed.destroy_process_group()
    assert detected(None, None) == (5, 8)
