"""A trained classifier that answers: texts or images in, classes and probabilities out, one batch or a stream of them.

Knows trained models and backends; nothing of HTTP. A stream goes through three stages with bounded queues between: made
into tensors in one thread, scored by the backends' threads, told in order.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from curator.errors import RequestError
from pipelines.training.checkpoint import TrainedModel
from pipelines.training.classes import Label
from pipelines.training.compress.scoring import run_of
from pipelines.training.images import decode_images, normalised
from pipelines.training.kinds import ImageClassifier, TextClassifier
from pipelines.training.read_ahead import read_ahead
from pipelines.training.serving.backends import Backend, OnCpu
from pipelines.training.serving.buckets import Bucket, Buckets
from pipelines.training.serving.routing import Routing
from pipelines.training.tokens import encode
from pipelines.training.transformer import keys_from_lengths

__all__ = ["Answers", "Serving"]

_DEPTH = 4
_ROWS = (1, 8, 64, 256)


class Answers(NamedTuple):
    """Of a batch, in its order."""

    labels: list[Label]
    probabilities: np.ndarray
    """float32[B, C], in the order of `Serving.classes`"""


_Tensors = tuple[Tensor, Tensor | None]


class Serving:
    """`answer` a batch, or `stream` many. Close it when done, or use it as a context."""

    def __init__(
        self,
        trained: TrainedModel,
        backends: Sequence[Backend] | None = None,
        *,
        rows: Sequence[int] = _ROWS,
        lengths: Sequence[int] | None = None,
    ):
        """`backends`: by default the model on the CPU. `rows`, `lengths`: the shapes that are computed; texts are as
        long as the recipe's context at most. With several backends every shape is measured on each, here. Raises
        RequestError for a model that is no classifier of texts or images.
        """
        recipe = trained.recipe
        if trained.classes is None or not isinstance(recipe, (TextClassifier, ImageClassifier)):
            raise RequestError(f"a {recipe.kind} is not served: classifiers of texts and of images are")
        self.classes, self._recipe = trained.classes, recipe
        default = sorted({min(size, recipe.context) for size in (32, 64, 128, 256, 512, recipe.context)}) if isinstance(
            recipe, TextClassifier
        ) else ()  # fmt: skip
        self.buckets = Buckets(rows, default if lengths is None else lengths)
        self.backends = {one.name: one for one in backends or [OnCpu(run_of(trained.model.cpu().eval()))]}
        workers = {name: one.workers for name, one in self.backends.items()}
        self._threads = {name: ThreadPoolExecutor(count, f"serve-{name}") for name, count in workers.items()}
        self.routing = Routing(self._measured(), workers)

    def __enter__(self) -> Serving:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        for threads in self._threads.values():
            threads.shutdown(cancel_futures=True)

    def answer(self, content: pa.Array) -> Answers:
        """Texts, or encoded images; none may be null. Raises InputError, RequestError."""
        return self._told(self._begun(self._tensors(content)))

    def stream(self, batches: Iterable[pa.Array]) -> Iterator[Answers]:
        """The answers to each batch, in order; a few batches are made ready and under way at a time, no more."""
        under_way: deque[list[Future[Tensor]]] = deque()
        with closing(read_ahead(map(self._tensors, batches), _DEPTH)) as prepared:
            for tensors in prepared:
                under_way.append(self._begun(tensors))
                if len(under_way) >= _DEPTH:
                    yield self._told(under_way.popleft())
        while under_way:
            yield self._told(under_way.popleft())

    def _tensors(self, content: pa.Array) -> _Tensors:
        recipe = self._recipe
        if isinstance(recipe, TextClassifier):
            if content.null_count:
                raise RequestError(f"{content.null_count} of {len(content)} texts are null: a null has no class")
            tokens = encode(content, context=recipe.context)
            return torch.from_numpy(tokens.ids), keys_from_lengths(
                torch.from_numpy(tokens.lengths), tokens.ids.shape[1]
            )
        names = pa.array([number.to_bytes(16, "big") for number in range(len(content))], pa.binary(16))
        size, colours = recipe.image_size, recipe.colours
        pixels, _ = decode_images(content, names, size=size, colours=colours, column=recipe.columns.image)
        return normalised(torch.from_numpy(pixels)), None

    def _begun(self, tensors: _Tensors) -> list[Future[Tensor]]:
        inputs, keys_BT = tensors
        most, found = self.buckets.rows[-1], []
        for first in range(0, len(inputs), most):
            part = slice(first, first + most)
            bucket = self.buckets.of(inputs[part])
            name = self.routing.chosen(bucket)
            arguments = (name, bucket, inputs[part], None if keys_BT is None else keys_BT[part])
            found.append(self._threads[name].submit(self._scored, *arguments))
        return found

    def _scored(self, name: str, bucket: Bucket, inputs: Tensor, keys_BT: Tensor | None) -> Tensor:
        try:
            return self.backends[name].scores(*self.buckets.filled(inputs, keys_BT))[: len(inputs)]
        finally:
            self.routing.done(name, bucket)

    def _told(self, parts: list[Future[Tensor]]) -> Answers:
        scores = [part.result() for part in parts]
        scores_BC = torch.cat(scores) if scores else torch.zeros(0, len(self.classes))
        return Answers([self.classes[at] for at in scores_BC.argmax(1).tolist()], scores_BC.softmax(1).numpy())

    def _measured(self) -> dict[str, dict[Bucket, float]]:
        """Seconds of each shape on each backend, the median of three after one; one backend needs no measuring."""
        if len(self.backends) == 1:
            return {name: dict.fromkeys(self.buckets.all(), 0.0) for name in self.backends}
        return {
            name: {bucket: _seconds(one, *self._blank(bucket)) for bucket in self.buckets.all()}
            for name, one in self.backends.items()
        }

    def _blank(self, bucket: Bucket) -> _Tensors:
        if bucket.length is None:
            assert isinstance(self._recipe, ImageClassifier)
            size = self._recipe.image_size
            return torch.zeros(bucket.rows, 1 if self._recipe.colours == "grey" else 3, size, size), None
        keys_BT = torch.ones(bucket.rows, bucket.length, dtype=torch.bool)
        keys_BT[:, -1] = False
        return torch.zeros(bucket.rows, bucket.length, dtype=torch.int64), keys_BT


def _seconds(backend: Backend, inputs: Tensor, keys_BT: Tensor | None) -> float:
    times = []
    for _ in range(4):
        began = time.perf_counter()
        backend.scores(inputs, keys_BT)
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])
