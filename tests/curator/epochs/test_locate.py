"""Places: ranks reach every live row of a difficulty once, in both orders."""

import numpy as np
import pytest

from curator.epochs.locate import Locator
from curator.shards import ShardReader
from curator.storage import Store
from tests.curator.shards.dataset import write_dataset


@pytest.mark.parametrize("order", ["sample_id", "row"])
def test_ranks_reach_every_live_row_once(tmp_path, order):
    store = Store.open(tmp_path)
    manifest = write_dataset(store, kept=200).manifest
    reader = ShardReader(store)
    locator = Locator(manifest, lambda shard: reader.open(manifest, shard).index, order)
    everything = []
    for difficulty, count in enumerate(manifest.live):
        ranks = np.random.default_rng(0).permutation(count)
        places = np.empty((count, 2), dtype=np.int64)
        places[ranks] = locator.places(difficulty, ranks)
        everything += [tuple(place) for place in places.tolist()]
        rows = reader.take(manifest, places, ["sample_id"])["sample_id"].to_pylist()
        for shard in np.unique(places[:, 0]):
            inside = np.flatnonzero(places[:, 0] == shard)
            key = [rows[i] for i in inside] if order == "sample_id" else places[inside, 1].tolist()
            assert key == sorted(key)
        for bad in (-1, count):
            with pytest.raises(ValueError, match="outside the"):
                locator.places(difficulty, np.array([bad]))
    assert len(set(everything)) == len(everything) == 200
