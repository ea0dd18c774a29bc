"""Encoders by name: `make_encoder(modality, name)`, `save_encoder`, `load_encoder`.

Knows which encoders there are, not how they work.
"""

from __future__ import annotations

import json
from typing import Final

from safetensors.torch import load, save

from agents.encoders.types import Encoder
from curator.errors import IntegrityError, RecipeError
from curator.storage import Store

__all__ = ["ENCODER_VERSION", "Encoder", "load_encoder", "make_encoder", "save_encoder"]

ENCODER_VERSION: Final = "1"
_PREFIX: Final = "sentence-transformers:"


def make_encoder(modality: str, name: str) -> Encoder:
    """An encoder not yet fitted. modality: text or image. name: `builtin`, or a sentence-transformers name or path.

    A name may carry the prefix `sentence-transformers:`. Raises RecipeError for another modality.
    """
    if modality not in ("text", "image"):
        raise RecipeError(f"no encoder for {modality!r}; content is text or image")
    if name != "builtin":
        from agents.encoders.sentence import SentenceEncoder

        return SentenceEncoder(modality, name.removeprefix(_PREFIX))
    if modality == "text":
        from agents.encoders.text import TextEncoder

        return TextEncoder()
    from agents.encoders.image import ImageEncoder

    return ImageEncoder()


def save_encoder(encoder: Encoder, store: Store, prefix: str) -> None:
    """Writes `encoder.safetensors` and then `encoder.json` under the prefix."""
    modality = "image" if getattr(encoder, "modality", "text") == "image" else "text"
    card = {"version": ENCODER_VERSION, "modality": modality, "name": encoder.name}
    store.write_bytes(f"{prefix}/encoder.safetensors", save(encoder.to_tensors()))
    store.write_bytes(f"{prefix}/encoder.json", json.dumps(card, sort_keys=True).encode())


def load_encoder(store: Store, prefix: str) -> Encoder:
    """A saved encoder. Raises NotFoundError when there is none, IntegrityError on an unknown version."""
    card = json.loads(store.read_bytes(f"{prefix}/encoder.json"))
    if card.get("version") != ENCODER_VERSION:
        raise IntegrityError(
            f"{prefix} holds an encoder of version {card.get('version')!r}, known is {ENCODER_VERSION!r}: fit it again"
        )
    encoder = make_encoder(card["modality"], card["name"])
    encoder.from_tensors(load(bytes(store.read_bytes(f"{prefix}/encoder.safetensors"))))
    return encoder
