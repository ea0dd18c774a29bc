"""The builtin image encoder: k-means features of whitened patches, pooled by quadrant, then PCA. No download.

Knows pixels; nothing of labels. After Coates & Ng, "Learning feature representations with k-means" (2012): contrast
normalisation, ZCA whitening, spherical k-means, the triangle activation. Not implemented: receptive field selection.
"""

from __future__ import annotations

import io
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from PIL import Image

from agents.determinism import one_thread

__all__ = ["ImageEncoder", "decode"]

SMALL_SIDE, LARGE_SIDE = 16, 32
"""Images are scaled to a square of this side: small where half of the sample is no larger."""
PATCH: Final = 6
SMALL_STRIDE, LARGE_STRIDE = 1, 2
"""Steps between patches. At side 32 a stride of 2 is seven times as fast as 1 and costs one point on CIFAR-10."""
NUM_FILTERS: Final = 400
PATCHES_PER_IMAGE: Final = 20
_KMEANS_STEPS: Final = 10
_CONTRAST: Final = 10.0
_WHITENING: Final = 0.1
_BATCH: Final = 32
_FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")


class ImageEncoder:
    """side: int. patch_mean float32[108], whiten float32[108, 108], filters float32[108, 400]; mean float32[1600] and
    components float32[1600, 256] of the PCA."""

    name = "builtin"
    modality = "image"
    dim = 256
    fit_rows = 5_000
    fit_bytes = 256 << 20

    def __init__(self) -> None:
        self.tensors: dict[str, torch.Tensor] = {}

    def fit(self, sample: pa.Array, seed: int) -> None:
        """Learns filters from patches and the PCA from pooled features. Of a decoded image only its pixels at the two
        sides are held, 15 KiB, however large it is."""
        sizes: list[int] = []
        pixels: dict[int, list[np.ndarray]] = {SMALL_SIDE: [], LARGE_SIDE: []}
        for start in range(0, len(sample), _BATCH):
            for image in map(decode, _blobs(sample.slice(start, _BATCH))):
                if image is not None:
                    sizes.append(max(image.size))
                    for each, made in pixels.items():
                        made.append(_pixels(image, each))
        if not sizes:
            return
        side = SMALL_SIDE if np.median(sizes) <= SMALL_SIDE else LARGE_SIDE
        with one_thread():
            generator = torch.Generator().manual_seed(seed % 2**63)
            images = torch.from_numpy(np.stack(pixels[side]))
            self.tensors = {"side": torch.tensor([side])} | _learn_filters(images, generator)
            pooled = torch.cat([self._pooled(images[i : i + _BATCH]) for i in range(0, len(images), _BATCH)])
            self.tensors |= _principal(pooled, self.dim)

    def encode(self, column: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
        """float32[n, 256] and valid bool[n]: False where the bytes are null or cannot be decoded."""
        vectors, valid = np.zeros((len(column), self.dim), np.float32), np.zeros(len(column), bool)
        if not self.tensors:
            return vectors, valid
        side = int(self.tensors["side"])
        blobs = _blobs(column)
        with one_thread():
            for start in range(0, len(blobs), _BATCH):
                images = np.zeros((_BATCH, 3, side, side), np.float32)
                for i, blob in enumerate(blobs[start : start + _BATCH]):
                    image = decode(blob)
                    if image is not None:
                        images[i], valid[start + i] = _pixels(image, side), True
                features = self._pooled(torch.from_numpy(images)) - self.tensors["mean"]
                part = (features @ self.tensors["components"]).numpy()
                vectors[start : start + _BATCH] = part[: len(blobs) - start]
        vectors[~valid] = 0
        return vectors, valid

    def _pooled(self, images: torch.Tensor) -> torch.Tensor:
        """Triangle activations max(0, mean distance - distance) summed over quadrants, float32[b, 4 · filters]."""
        num, side = len(images), images.shape[-1]
        stride = SMALL_STRIDE if side == SMALL_SIDE else LARGE_STRIDE
        patches = torch.nn.functional.unfold(images, PATCH, stride=stride).transpose(1, 2)
        z = (_contrast(patches) - self.tensors["patch_mean"]) @ self.tensors["whiten"]
        filters = self.tensors["filters"]
        squared = z.square().sum(2, keepdim=True) - 2 * z @ filters + filters.square().sum(0)
        distance = squared.clamp_min(0).sqrt()
        active = (distance.mean(2, keepdim=True) - distance).clamp_min(0)
        width = (side - PATCH) // stride + 1
        grid, half = active.view(num, width, width, -1), (width + 1) // 2
        quadrants = (grid[:, :half, :half], grid[:, :half, half:], grid[:, half:, :half], grid[:, half:, half:])
        return torch.cat([quadrant.mean((1, 2)) for quadrant in quadrants], 1)

    def to_tensors(self) -> dict[str, torch.Tensor]:
        return self.tensors

    def from_tensors(self, tensors: dict[str, torch.Tensor]) -> None:
        self.tensors = dict(tensors)


def _blobs(column: pa.Array | pa.ChunkedArray) -> list[bytes | None]:
    """The bytes of each row; a struct column gives its field `bytes`."""
    if pa.types.is_struct(column.type):
        column = pc.struct_field(column, "bytes")
    return column.to_pylist()


def decode(blob: bytes | None) -> Image.Image | None:
    """The first frame in RGB, or None. Whatever a decoder raises on foreign bytes means the same: no image."""
    if not blob:
        return None
    try:
        with Image.open(io.BytesIO(blob), formats=_FORMATS) as image:
            image.draft("RGB", (4 * LARGE_SIDE, 4 * LARGE_SIDE))
            return image.convert("RGB")
    except Exception:
        return None


def _pixels(image: Image.Image, side: int) -> np.ndarray:
    """float32[3, side, side] in [0, 255]."""
    resized = image if image.size == (side, side) else image.resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(resized, np.float32).transpose(2, 0, 1)


def _contrast(patches: torch.Tensor) -> torch.Tensor:
    centred = patches - patches.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + _CONTRAST).sqrt()


def _learn_filters(images: torch.Tensor, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Whitening and spherical k-means on random patches."""
    last = images.shape[-1] - PATCH + 1
    count = PATCHES_PER_IMAGE * len(images)
    which = torch.arange(len(images)).repeat_interleave(PATCHES_PER_IMAGE)
    top, left = torch.randint(last, (2, count), generator=generator)
    window = torch.arange(PATCH)
    rows, columns = (top[:, None] + window)[:, :, None], (left[:, None] + window)[:, None, :]
    patches = _contrast(images.permute(0, 2, 3, 1)[which[:, None, None], rows, columns].permute(0, 3, 1, 2).flatten(1))
    mean = patches.mean(0)
    values, basis = torch.linalg.eigh(((patches - mean).T @ (patches - mean) / count).double())
    whiten = (basis * (values.clamp_min(0) + _WHITENING).rsqrt()) @ basis.T
    z = (patches - mean) @ whiten.float()
    filters = torch.nn.functional.normalize(torch.randn(NUM_FILTERS, z.shape[1], generator=generator), dim=1)
    for _ in range(_KMEANS_STEPS):
        filters = _kmeans_step(z, filters)
    return {"patch_mean": mean, "whiten": whiten.float(), "filters": filters.T.contiguous()}


def _kmeans_step(z: torch.Tensor, filters: torch.Tensor) -> torch.Tensor:
    """Each patch goes to the filter it projects on most, which moves towards it; the old filter damps empty ones."""
    total = filters.clone()
    for block in z.split(8192):
        projected = block @ filters.T
        best = projected.abs().argmax(1)
        total.index_add_(0, best, projected.gather(1, best[:, None]) * block)
    return torch.nn.functional.normalize(total, dim=1)


def _principal(pooled: torch.Tensor, dim: int) -> dict[str, torch.Tensor]:
    """PCA after standardising each feature; components have the scale folded in."""
    mean, spread = pooled.mean(0), pooled.std(0, correction=0).clamp_min(1e-6)
    z = ((pooled - mean) / spread).double()
    _, vectors = torch.linalg.eigh(z.T @ z / len(z))
    return {"mean": mean, "components": (vectors.flip(1)[:, :dim].float() / spread[:, None]).contiguous()}
