"""The chain of steps on one model: each makes a candidate, the gate says whether it is gone on from.

Knows steps and gates; nothing of folders, catalogs or terminals. On one CPU thread the models are a function of
(checkpoint, recipe, rows); latencies are not.
"""

from __future__ import annotations

import copy
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from curator.storage import Store
from pipelines.training.checkpoint import TrainedModel
from pipelines.training.compress.candidate import Candidate, planned, quantised
from pipelines.training.compress.compact import COMPACT, load_compact
from pipelines.training.compress.distil import Distillation
from pipelines.training.compress.export import FILES, compared, export, loaded
from pipelines.training.compress.gate import Verdict, passed
from pipelines.training.compress.held_out import HeldOut, Measured
from pipelines.training.compress.learn import OpenRows, first_batches, learn
from pipelines.training.compress.prune import chosen, importance
from pipelines.training.compress.recipe import (
    Adaptive,
    CompressRecipe,
    Distil,
    ExportFormat,
    Precision,
    Prune,
    Quantise,
    Retrain,
)
from pipelines.training.compress.report import Step
from pipelines.training.compress.rounded import rounded
from pipelines.training.compress.scoring import run_of
from pipelines.training.compress.sensitivity import budgeted, sensitivities, uniform_bytes
from pipelines.training.compress.structure import kept_only, shape_of, taken_out
from pipelines.training.compress.student import layer_map, new_student, student_recipe
from pipelines.training.compress.weights import plan_of, widened
from pipelines.training.kinds import TrainingRecipe
from pipelines.training.model import num_parameters

__all__ = ["Chain", "OnCompressed"]

OnCompressed = Callable[[Step], None]


class Chain:
    """The steps on a trained model. `best` is the last good candidate; `steps` all that was tried."""

    def __init__(self, trained: TrainedModel, num_bytes: int, held_out: HeldOut, on_step: OnCompressed | None = None):
        self.held_out, self._on_step = held_out, on_step
        self.best, self.steps = Candidate.of(trained), list[Step]()
        self.costs: dict[tuple[str, Precision], float] = {}
        """what each matrix costs when it alone is narrow; empty without a plan by layer"""
        self.scores = held_out.scores(run_of(trained.model))
        """of `best` on held-out rows"""
        self.measured = held_out.measure(self.scores)
        verdict = Verdict(True, f"as trained; mean loss {self.measured.mean_loss:.4f}")
        self._tell("trained", self.best, self.measured, num_bytes, verdict)

    def offer(
        self, name: str, candidate: Candidate, max_loss: float, note: str = "", *, before: float | None = None
    ) -> bool:
        """Measures a candidate; it becomes `best` if the gate lets it pass.

        `note` is told with the verdict. `before`: the accuracy it is judged against, by default that of `best`.
        """
        scores = self.held_out.scores(run_of(candidate.trained.model))
        measured = self.held_out.measure(scores)
        before = self.measured.accuracy if before is None else before
        verdict = passed(before, measured.accuracy, max_loss, finite=measured.finite)
        verdict = verdict._replace(why=f"{verdict.why}; {note}" if note else verdict.why)
        self._tell(name, candidate, measured, len(candidate.file), verdict)
        if verdict.kept:
            self.best, self.scores, self.measured = candidate, scores, measured
        return verdict.kept

    def distil(self, wish: Distil, open_rows: OpenRows, seed: int) -> None:
        """A smaller student of the last good model."""
        teacher = self.best.trained
        recipe = student_recipe(teacher.recipe, wish, seed)
        student, pairs = new_student(teacher, recipe), list(enumerate(layer_map(teacher.recipe, recipe)))
        self._taught(student, wish, recipe, open_rows, hidden=wish.hidden, pairs=pairs)
        self.offer("distilled", Candidate.of(student), wish.max_loss, f"{wish.epochs} epochs as a student")

    def prune(self, wish: Prune, open_rows: OpenRows, seed: int) -> None:
        """The last good model without its least important units, trained again with itself before as teacher."""
        pruned = copy.deepcopy(self.best.trained)
        changes = {"epochs": wish.epochs, "optimiser": wish.optimiser or pruned.recipe.optimiser, "seed": seed}
        recipe = pruned.recipe.model_copy(update=changes)
        classes = pruned.class_table
        assert classes is not None, "classifiers are compressed"
        calibration = first_batches(open_rows(recipe), recipe, classes, wish.calibration_rows)
        kept = chosen(pruned.model, wish, importance(pruned.model, calibration))
        before = shape_of(pruned.model)
        kept_only(pruned.model, kept)
        self._taught(pruned, wish, recipe, open_rows)
        self.offer("pruned", Candidate.of(pruned), wish.max_loss, taken_out(before, shape_of(pruned.model)))

    def _taught(
        self,
        student: TrainedModel,
        wish: Distil | Prune | Retrain,
        recipe: TrainingRecipe,
        open_rows: OpenRows,
        **hidden: Any,
    ) -> None:
        teacher = copy.deepcopy(self.best.trained.model)
        lesson = Distillation(student.model, teacher, temperature=wish.temperature, logits=wish.logits, **hidden)
        classes = student.class_table
        assert classes is not None, "classifiers are compressed"
        learn(lesson, lesson, open_rows(recipe), recipe, classes)

    def quantise(self, recipe: Quantise, open_rows: OpenRows) -> None:
        """fp32 → fp16 → int8, each from the last good model's numbers, once more with training where it is taken back;
        then by layer, from the first's."""
        wide, accuracy = self.best, self.measured.accuracy
        for stage in recipe.stages:
            kept = self.offer(stage, quantised(self.best, stage), recipe.max_loss(stage))
            if not kept and recipe.retrain is not None:
                self._retrain(stage, recipe.retrain, recipe.max_loss(stage), open_rows)
        if recipe.adaptive is not None:
            self._adapt(recipe.adaptive, wide, accuracy, open_rows)

    def _retrain(self, stage: Literal["fp16", "int8"], wish: Retrain, max_loss: float, open_rows: OpenRows) -> None:
        """The last good model, trained with its weights rounded to the stage, and rounded."""
        learned = copy.deepcopy(self.best.trained)
        changes = {"epochs": wish.epochs, "optimiser": wish.optimiser or learned.recipe.optimiser}
        with rounded(learned.model, plan_of(learned.model.state_dict(), stage)):
            self._taught(learned, wish, learned.recipe.model_copy(update=changes), open_rows)
        name, note = f"{stage}, retrained", f"{wish.epochs} epochs with its rounding"
        self.offer(name, quantised(Candidate.of(learned), stage), max_loss, note)

    def _adapt(self, wish: Adaptive, wide: Candidate, accuracy: float, open_rows: OpenRows) -> None:
        """`accuracy`: of `wide`, which the plan is made for and judged against."""
        trained, tensors = wide.trained, widened(wide.weights)
        assert trained.class_table is not None, "classifiers are compressed"
        batches = first_batches(open_rows(trained.recipe), trained.recipe, trained.class_table, wish.calibration_rows)
        self.costs = sensitivities(wide, batches)
        plan = budgeted(tensors, self.costs, wish.budget * uniform_bytes(tensors))
        number = Counter(plan[name] for name, tensor in tensors.items() if tensor.ndim > 1)
        note = ", ".join(f"{number[precision]} matrices in {precision}" for precision in sorted(number))
        self.offer("adaptive", planned(wide, plan), wish.max_loss, note, before=accuracy)

    def export(self, recipe: CompressRecipe, out: Store) -> None:
        """Writes the last good model in every format, loads each again and compares. Raises IntegrityError."""
        out.write_bytes(COMPACT, self.best.file)
        again = load_compact(out.uri)
        compared(COMPACT, self.scores, self.held_out.scores(run_of(again.model)))
        self.steps[self._kept_last()] = self.steps[self._kept_last()].model_copy(update={"file": COMPACT})
        if not recipe.export:
            return
        for kind, data in export(self.best, recipe.export).items():
            self._exported(kind, data, recipe, out)

    def _exported(self, kind: ExportFormat, data: bytes, recipe: CompressRecipe, out: Store) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / FILES[kind]
            path.write_bytes(data)
            run = loaded(kind, path)
        scores = self.held_out.scores(run)
        measured = self.held_out.measure(scores)
        if kind == "onnx-dynamic":
            verdict = passed(self.measured.accuracy, measured.accuracy, recipe.max_export_loss, finite=measured.finite)
        else:
            off = compared(FILES[kind], self.scores, scores)
            verdict = Verdict(True, f"loaded again: scores differ by {off:.0e} at the most")
        latency = self.held_out.latency_ms(run)
        slower = [step.name for step in self.steps if step.file and step.latency_ms <= latency]
        if verdict.kept and kind == "onnx-dynamic" and slower:
            verdict = Verdict(False, f"left out: int8 activations do not pay here, {slower[0]} is as fast")
        if verdict.kept:
            out.write_bytes(FILES[kind], data)
        self._add(kind, self.best, measured, len(data), latency, verdict, FILES[kind] if verdict.kept else None)

    def _kept_last(self) -> int:
        return max(index for index, step in enumerate(self.steps) if step.kept)

    def _tell(self, name: str, candidate: Candidate, measured: Measured, num_bytes: int, verdict: Verdict) -> None:
        latency = self.held_out.latency_ms(run_of(candidate.trained.model))
        self._add(name, candidate, measured, num_bytes, latency, verdict)

    def _add(
        self,
        name: str,
        candidate: Candidate,
        measured: Measured,
        num_bytes: int,
        latency_ms: float,
        verdict: Verdict,
        file: str | None = None,
    ) -> None:
        step = Step(
            name=name,
            kept=verdict.kept,
            why=verdict.why,
            accuracy=measured.accuracy,
            mean_loss=measured.mean_loss,
            num_parameters=num_parameters(candidate.trained.model),
            num_bytes=num_bytes,
            latency_ms=latency_ms,
            file=file,
        )
        self.steps.append(step)
        if self._on_step is not None:
            self._on_step(step)
