"""The manifest: saved under its content's id, refused when it is not what the id says."""

import json

import pytest
from pydantic import ValidationError

from curator.errors import IntegrityError, NotFoundError
from curator.shards import Manifest
from curator.shards.layout import manifest_name
from curator.storage import Store
from tests.curator.shards.dataset import rows, write_dataset


@pytest.fixture
def made(tmp_path):
    store = Store.open(tmp_path)
    return store, write_dataset(store, kept=100).manifest


def test_round_trip_and_a_second_save_changes_nothing(made):
    store, manifest = made
    text = store.read_bytes(manifest_name(manifest.id))
    assert Manifest.load(store, manifest.id) == manifest
    assert manifest.save(store) == manifest.id and store.read_bytes(manifest_name(manifest.id)) == text


def test_equal_content_equal_id_in_another_place(tmp_path):
    ids = {write_dataset(Store.open(tmp_path / name), kept=100).manifest.id for name in "ab"}
    assert len(ids) == 1
    assert write_dataset(Store.open(tmp_path / "c"), kept=100, seed=1).manifest.id not in ids


def test_a_changed_file_is_refused(made):
    store, manifest = made
    data = json.loads(store.read_bytes(manifest_name(manifest.id)))
    data["shards"][0]["live"][0] += 1
    store.write_bytes(manifest_name(manifest.id), json.dumps(data).encode())
    with pytest.raises(IntegrityError, match=r"holds the content of man_.*not served"):
        Manifest.load(store, manifest.id)
    store.write_bytes(manifest_name(manifest.id), b'{"version": 1, "shar')
    with pytest.raises(IntegrityError, match="not readable"):
        Manifest.load(store, manifest.id)


def test_counts(made):
    _, manifest = made
    assert manifest.live == (34, 33, 33) and manifest.num_live == 100
    assert Manifest(columns=()).live == (0, 0, 0) and Manifest(columns=()).mean_row_bytes == 1


@pytest.mark.parametrize("name", ["man_" + "0" * 32, "../../etc/passwd", "man_../x", "epl_00"])
def test_what_is_not_there(made, name):
    with pytest.raises(NotFoundError, match="manifest"):
        Manifest.load(made[0], name)


def test_a_label_goes_with_its_columns(made):
    schema = rows(range(1)).schema
    with pytest.raises(ValidationError, match="label_before"):
        Manifest.of(schema, [])
    with pytest.raises(ValidationError, match="not among"):
        Manifest.of(schema, [], label="nope")
