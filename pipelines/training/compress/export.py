"""Exports: torch.export and ONNX, each written, loaded again from its file alone and compared on held-out rows.

Knows the two formats and their runtimes; nothing of steps or gates. onnx, onnxscript and onnxruntime are loaded when a
recipe asks for them.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx import GraphModule

from curator.errors import IntegrityError, RequestError
from pipelines.training.compress.candidate import Candidate
from pipelines.training.compress.narrow import scorer
from pipelines.training.compress.recipe import ExportFormat
from pipelines.training.compress.scoring import Run
from pipelines.training.kinds import ImageClassifier

__all__ = ["FILES", "TOLERANCE", "compared", "export", "loaded", "require_runtimes"]

FILES: Final[dict[ExportFormat, str]] = {
    "torch-export": "model.pt2",
    "onnx": "model.onnx",
    "onnx-dynamic": "model.int8-activations.onnx",
}
"""What each format's file is called."""

TOLERANCE: Final = 1e-3
"""The most that a score of an export may differ, as a share of the largest score: runtimes sum in another order."""

_MOST_ROWS: Final = 4096
_TRACES: Final = ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node")


def require_runtimes(wanted: tuple[ExportFormat, ...]) -> None:
    """Raises RequestError where what a format needs is not installed: before the work, not after it."""
    needed = ("onnx", "onnxscript", "onnxruntime") if set(wanted) & {"onnx", "onnx-dynamic"} else ()
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise RequestError(
            f"export to ONNX needs {', '.join(missing)}: pip install 'winnow-curation[compress]', or leave ONNX out "
            "of the recipe's `export`"
        )


def export(candidate: Candidate, wanted: tuple[ExportFormat, ...]) -> dict[ExportFormat, bytes]:
    """The bytes of each format. Inputs `ids` [B, T] and `keys` [B, T], or `pixels` [B, C, S, S]; output `scores`."""
    context, narrow = candidate.context, scorer(candidate.trained.model, candidate.weights, candidate.context)
    made: dict[ExportFormat, bytes] = {}
    with _quiet():
        program = _program(narrow, candidate)
        for kind in wanted:
            if kind == "torch-export":
                made[kind] = _archive(program)
            elif kind == "onnx":
                made[kind] = _onnx(program, context, optimise=False).SerializeToString()
            else:
                wide = _program(scorer(candidate.trained.model, {}, context), candidate)
                made[kind] = _with_int8_activations(_onnx(wide, context, optimise=True))
    return made


def loaded(kind: ExportFormat, path: str | os.PathLike[str]) -> Run:
    """What an export computes, from its file alone, on one CPU thread."""
    if kind == "torch-export":
        with _quiet():
            module = torch.export.load(os.fspath(path)).module()
        return lambda inputs, keys_BT: module(*_fed(inputs, keys_BT))
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]

    def run(inputs: Tensor, keys_BT: Tensor | None) -> Tensor:
        fed = {name: tensor.numpy() for name, tensor in zip(names, _fed(inputs, keys_BT), strict=True)}
        return torch.from_numpy(session.run(None, fed)[0])

    return run


def compared(name: str, expected_NC: Tensor, found_NC: Tensor) -> float:
    """The largest difference of a score, as a share of the largest score. Raises IntegrityError above TOLERANCE."""
    if expected_NC.shape != found_NC.shape:
        raise IntegrityError(
            f"{name} gives scores of shape {tuple(found_NC.shape)}, the model {tuple(expected_NC.shape)}: it must not "
            "be used"
        )
    off = float((expected_NC - found_NC).abs().max() / expected_NC.abs().max().clamp(min=1e-12))
    if not off <= TOLERANCE:
        raise IntegrityError(
            f"{name}, loaded again, differs from the model by {off:.2e} of the largest score over {len(expected_NC)} "
            f"held-out rows; {TOLERANCE:.0e} is rounding. The file must not be used; leave this format out of `export`"
        )
    return off


def _program(module: nn.Module, candidate: Candidate) -> ExportedProgram:
    """The graph, for any number of rows and any length up to the context, without where in our code it came from."""
    rows, recipe, context = Dim("rows", min=1, max=_MOST_ROWS), candidate.trained.recipe, candidate.context
    if isinstance(recipe, ImageClassifier):
        pixels = torch.zeros(2, 1 if recipe.colours == "grey" else 3, recipe.image_size, recipe.image_size)
        program = torch.export.export(module, (pixels,), dynamic_shapes=({0: rows},))
    else:
        assert context is not None, "a text classifier has one"
        free = {0: rows, 1: Dim("length", min=4, max=context)}
        ids_BT = torch.zeros(2, min(context, 16), dtype=torch.int64)
        keys_BT = torch.ones_like(ids_BT, dtype=torch.bool)
        program = torch.export.export(module, (ids_BT, keys_BT), dynamic_shapes=(free, free))
    for graph in program.graph_module.modules():
        for node in graph.graph.nodes if isinstance(graph, GraphModule) else ():
            for name in _TRACES:
                node.meta.pop(name, None)
    return program


def _archive(program: ExportedProgram) -> bytes:
    out = io.BytesIO()
    torch.export.save(program, out)
    return out.getvalue()


def _onnx(program: ExportedProgram, context: int | None, *, optimise: bool) -> Any:
    """The ONNX model. `optimise` folds constants, which would widen narrow weights."""
    names = ["pixels"] if context is None else ["ids", "keys"]
    made = torch.onnx.export(
        program, (), dynamo=True, optimize=optimise, input_names=names, output_names=["scores"], verbose=False
    )
    assert made is not None
    model = made.model_proto
    del model.graph.value_info[:]
    for node in (*model.graph.node, *(node for function in model.functions for node in function.node)):
        node.doc_string = ""
        del node.metadata_props[:]
    return model


def _fed(inputs: Tensor, keys_BT: Tensor | None) -> tuple[Tensor, ...]:
    if inputs.is_floating_point():
        return (inputs,)
    return inputs, torch.ones_like(inputs, dtype=torch.bool) if keys_BT is None else keys_BT


def _with_int8_activations(model: Any) -> bytes:
    """Products in whole numbers: weights by output channel, inputs on the way, for each batch as it comes."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / "model.onnx"
        quantize_dynamic(model, target, per_channel=True, weight_type=QuantType.QInt8)
        return target.read_bytes()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporters tell of operators of libraries that are not here, and use what their own parts deprecate."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
