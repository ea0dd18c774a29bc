"""What is kept cannot be read without the key; the key is nobody else's."""

from __future__ import annotations

import base64
import os
import threading
from pathlib import Path

import pytest

from curator.errors import IntegrityError, RequestError
from curator.sealing import Seal
from curator.settings import Settings

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


def test_it_comes_back_under_its_name_and_key_alone(tmp_path: Path) -> None:
    seal = Seal.of(Settings(root=str(tmp_path)))
    kept = seal.close("whk_1", SECRET)
    assert Seal.is_closed(kept) and not Seal.is_closed(SECRET) and SECRET[6:] not in kept
    assert Seal.of(Settings(root=str(tmp_path))).open("whk_1", kept) == SECRET
    for other, name in ((seal, "whk_2"), (Seal(b"x" * 32), "whk_1")):
        with pytest.raises(IntegrityError, match=f"secret of {name} was sealed with another key.*server.key"):
            other.open(name, kept)
    assert seal.close("whk_2", SECRET) != kept
    with pytest.raises(ValueError, match="too long"):
        seal.close("whk_1", "whsec_" + base64.b64encode(bytes(33)).decode())


def test_the_key_is_nobody_elses(tmp_path: Path) -> None:
    settings = Settings(root=str(tmp_path))
    Seal.of(settings)
    key = tmp_path / "server.key"
    assert key.stat().st_mode & 0o777 == 0o600 and len(key.read_bytes()) == 32
    os.chmod(key, 0o640)
    with pytest.raises(RequestError, match="chmod 600"):
        Seal.of(settings)
    os.chmod(key, 0o600)
    key.write_bytes(b"short")
    with pytest.raises(RequestError, match="5 bytes, not 32"):
        Seal.of(settings)


def test_a_root_on_an_object_store_names_a_file_elsewhere(tmp_path: Path) -> None:
    on_s3 = {"root": "s3://bucket/data", "database_url": f"sqlite:///{tmp_path / 'w.db'}"}
    with pytest.raises(RequestError, match="WINNOW_SECRET_KEY_FILE"):
        Seal.of(Settings(**on_s3))
    Seal.of(Settings(**on_s3, secret_key_file=str(tmp_path / "elsewhere" / "key")))
    assert (tmp_path / "elsewhere" / "key").exists()


def test_many_that_start_at_once_share_one_key(tmp_path: Path) -> None:
    settings, kept = Settings(root=str(tmp_path)), set()
    threads = [threading.Thread(target=lambda: kept.add(Seal.of(settings).close("a", SECRET))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(kept) == 1 and os.listdir(tmp_path) == ["server.key"]
