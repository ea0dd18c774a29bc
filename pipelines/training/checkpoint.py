"""A training job on disk: one safetensors file that holds everything the next step needs, replaced whole or not at all.

Knows learners and their place; nothing of rows or of when to save. Weights are data: no pickle is written or read.

Random numbers need no state of their own: each draw comes from (seed, phase, step), and seed and step are here.
"""

from __future__ import annotations

import json
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from
from torch import Tensor

from curator.errors import IntegrityError, NotFoundError
from curator.storage import Store
from pipelines.training.classes import ClassTable, Label
from pipelines.training.identity import Identity
from pipelines.training.kinds import TrainingRecipe
from pipelines.training.model import Model, empty
from pipelines.training.packed_feed import FeedState
from pipelines.training.packing import state_from_arrays
from pipelines.training.parallel.ranks import ALONE, Ranks
from pipelines.training.report import Tally
from pipelines.training.step import Learner
from pipelines.training.supply import Place
from pipelines.training.tensor_file import on_host, write_tensors
from pipelines.training.write_behind import WriteBehind

__all__ = [
    "CHECKPOINT",
    "MODEL",
    "Checkpoint",
    "FeedHeader",
    "TrainedModel",
    "load_model",
    "place_of",
    "read",
    "restore",
    "save",
    "save_model",
]

CHECKPOINT, MODEL = "checkpoint.safetensors", "model.safetensors"
_FORMAT = 1
"""of the weights that a finished job leaves"""
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


class FeedHeader(BaseModel):
    """The numbers of a packed feed's state."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_rows: int
    context: int
    counts: dict[str, int]


class Checkpoint(BaseModel):
    """The part of a checkpoint that is not tensors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[3] = 3
    identity: Identity
    classes: tuple[Label, ...] | None
    epoch: int
    step: int
    cursor: dict[str, Any] | None
    """the stream's place inside `epoch`; None: at its first batch"""
    num_read: int
    """batches of rows read since the job began"""
    feed: FeedHeader | None = None
    """what a packed job has read and not yet learned; its tokens are among the tensors"""
    row_losses: list[tuple[int, float, int]] = []
    """rows whose pieces are not all learned: (row, sum of losses, targets seen)"""
    scaler: dict[str, Any]
    tally: Tally
    parts: str | None = None
    """the folder of a model that lies in slices; None: its tensors are in this file"""


class TrainedModel(BaseModel):
    """What a finished job leaves: enough to score rows with."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    recipe: TrainingRecipe
    classes: tuple[Label, ...] | None
    model: Any

    @property
    def class_table(self) -> ClassTable | None:
        return None if self.classes is None else ClassTable(self.classes)


def save(
    store: Store,
    learner: Learner,
    checkpoint: Checkpoint,
    place: Place,
    ranks: Ranks = ALONE,
    behind: WriteBehind | None = None,
) -> None:
    """Replaces the folder's checkpoint; a crash leaves the one before. `place`: where its rows stand.

    Every rank saves; what is the same on all of them is written by the one that leads. `behind`: writes a checkpoint
    that is one file, by default at once. A learner on a GPU may go on meanwhile; one on a CPU may not.
    """
    parts, tensors = learner.spread.write(store, checkpoint.step, learner.tensors())
    checkpoint = checkpoint.model_copy(update={"parts": parts})
    if not ranks.leads:
        return
    if (feed := place.feed) is not None:
        arrays = feed.packer.to_arrays()
        tensors |= {f"feed/{name}": torch.from_numpy(array) for name, array in arrays.items()}
        header = FeedHeader(num_rows=feed.num_rows, context=feed.context, counts=feed.counts)
        checkpoint = checkpoint.model_copy(update={"feed": header})
    behind = WriteBehind(False) if behind is None or parts is not None else behind
    behind.wait()  # so that one checkpoint at most lies in page-locked memory
    copied, there = on_host(tensors)

    def write() -> None:
        if there is not None:
            there.synchronize()
        write_tensors(store, CHECKPOINT, copied, checkpoint.model_dump_json())
        if parts is not None:
            from pipelines.training.parallel.parts import remove_other_parts

            remove_other_parts(store, parts)

    behind(write)


def read(store: Store) -> tuple[Checkpoint, dict[str, Tensor]] | None:
    """The folder's checkpoint, or None where there is none. Raises IntegrityError for a file that is not one."""
    if not store.exists(CHECKPOINT):
        return None
    text, tensors = _unpacked(store, CHECKPOINT)
    try:
        return Checkpoint.model_validate_json(text), tensors
    except ValidationError as error:
        raise IntegrityError(
            f"{CHECKPOINT} in {store.uri} was not written by this version: {error}; "
            "resume with the version that wrote it, or start again with resume off"
        ) from error


def place_of(checkpoint: Checkpoint, tensors: dict[str, Tensor]) -> Place:
    """Where its rows stood."""
    feed = None
    if (header := checkpoint.feed) is not None:
        arrays = {name.removeprefix("feed/"): t.numpy() for name, t in tensors.items() if name.startswith("feed/")}
        feed = FeedState(state_from_arrays(arrays), header.num_rows, header.context, header.counts)
    return Place(checkpoint.cursor, checkpoint.num_read, feed)


def restore(learner: Learner, checkpoint: Checkpoint, tensors: dict[str, Tensor], store: Store) -> None:
    """Weights, moments and loss scale into a learner of the same shape, on its device. Raises IntegrityError."""
    if checkpoint.parts is not None:
        learner.begin_moments()
        learner.spread.read(store, checkpoint.parts, learner.tensors())
    else:
        _fill(learner.model, tensors, learner.placement.device)
        for name, parameter in learner.held.items():
            moments = {m: tensors.get(f"optimiser/{name}/{m}") for m in _MOMENTS}
            if any(tensor is None for tensor in moments.values()):
                continue  # a parameter that has not had a gradient yet
            own = {m: t.to(parameter.device) for m, t in moments.items() if t is not None}
            learner.optimizer.state[parameter] = own
    learner.scaler.load_state_dict(checkpoint.scaler)
    if spread := {name.removeprefix("spread/"): t for name, t in tensors.items() if name.startswith("spread/")}:
        learner.spread.load(spread)


def save_model(store: Store, weights: dict[str, Tensor], recipe: TrainingRecipe, classes: ClassTable | None) -> None:
    """Whole weights by name, with the recipe and the class table in the header."""
    header = {"format": _FORMAT, "recipe": recipe.model_dump(mode="json"), "classes": classes and list(classes.labels)}
    tensors = {f"model/{name}": tensor.cpu() for name, tensor in weights.items()}
    write_tensors(store, MODEL, tensors, json.dumps(header))


def load_model(checkpoint_dir: str, device: torch.device | None = None) -> TrainedModel:
    """The model a finished job left in its folder. Raises NotFoundError, IntegrityError."""
    store = Store.open(checkpoint_dir)
    if not store.exists(MODEL):
        raise NotFoundError(f"no {MODEL} in {checkpoint_dir}: the job has not finished; resume it first")
    text, tensors = _unpacked(store, MODEL)
    header = json.loads(text)
    if header.get("format") != _FORMAT:
        raise IntegrityError(
            f"{MODEL} in {checkpoint_dir} has format {header.get('format')!r}, this version reads {_FORMAT}"
        )
    recipe = TypeAdapter[Any](TrainingRecipe).validate_python(header["recipe"])
    classes = None if header["classes"] is None else tuple(header["classes"])
    model = empty(recipe, len(classes or ()))
    _fill(model, tensors, torch.device("cpu"))
    return TrainedModel(recipe=recipe, classes=classes, model=model.to(device or "cpu").eval())


def _fill(model: Model, tensors: dict[str, Tensor], device: torch.device) -> None:
    weights = {name.removeprefix("model/"): t for name, t in tensors.items() if name.startswith("model/")}
    try:
        model.load_state_dict({name: tensor.to(device) for name, tensor in weights.items()})
    except RuntimeError as error:
        raise IntegrityError(f"the stored weights do not fit the recipe's model: {error}") from error


def _unpacked(store: Store, name: str) -> tuple[str, dict[str, Tensor]]:
    data = store.read_bytes(name)
    try:
        tensors = tensors_from(data)
        length = int.from_bytes(data[:8], "little")
        return json.loads(data[8 : 8 + length])["__metadata__"]["winnow"], tensors
    except (SafetensorError, KeyError, ValueError) as error:
        raise IntegrityError(
            f"{name} in {store.uri} is not a training file: {error}; "
            "delete it and start again, or restore it from a copy"
        ) from error
