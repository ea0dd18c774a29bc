"""The losses of a distillation, against their formulas; and that a student learns from them."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from pipelines.training.compress.distil import Distillation, hidden_loss, logit_loss
from pipelines.training.compress.recipe import Distil
from pipelines.training.compress.student import layer_map, new_student, student_recipe
from tests.pipelines.training.compress.conftest import Trained


def test_the_logit_loss_is_its_formula() -> None:
    ours, theirs = torch.randn(2, 6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).unbind()
    p, q = (theirs / 3).softmax(1), (ours / 3).softmax(1)
    assert torch.allclose(logit_loss(ours, theirs, 3.0), 9 * (p * (p / q).log()).sum(1).mean())
    assert abs(float(logit_loss(theirs, theirs, 3.0))) < 1e-12
    assert torch.autograd.gradcheck(lambda x: logit_loss(x, theirs, 3.0), (ours.clone().requires_grad_(),))


def test_the_hidden_loss_has_no_scale_and_hears_no_padding() -> None:
    goal = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(0))
    keys = torch.tensor([[True] * 4, [True, True, False, False]])
    assert float(hidden_loss(torch.zeros_like(goal), goal * 100, keys)) == 1.0
    spoiled = goal.clone()
    spoiled[1, 2:] = 1e6
    assert float(hidden_loss(spoiled, goal, keys)) == 0.0


def test_a_student_comes_nearer_to_its_teacher(either: Trained) -> None:
    teacher = either.model
    wish = Distil(width=0.5)
    recipe = student_recipe(teacher.recipe, wish, 0)
    student, pairs = new_student(teacher, recipe), list(enumerate(layer_map(teacher.recipe, recipe)))
    lesson = Distillation(student.model, teacher.model, temperature=2.0, logits=0.7, hidden=1.0, pairs=pairs)
    names = {name for name, _ in lesson.named_parameters()}
    assert names == {f"student.{name}" for name in student.model.state_dict()} | {
        f"projections.{index}.weight" for index in range(len(pairs))
    }
    [batch, *_] = either.rows.batches
    adam, seen = torch.optim.Adam(lesson.parameters(), lr=1e-2), []
    for _ in range(12):
        adam.zero_grad()
        loss = lesson(batch)
        loss.backward()
        adam.step()
        seen.append(float(loss.detach()))
    assert seen[-1] < 0.7 * seen[0]
    assert all(parameter.grad is None for parameter in teacher.model.parameters())


def test_labels_alone_are_cross_entropy(text: Trained) -> None:
    teacher, [batch, *_] = text.model, text.rows.batches
    lesson = Distillation(text.model.model, teacher.model, temperature=2.0, logits=0.0)
    scores = teacher.model(batch.inputs, batch.keys_BT)
    assert torch.allclose(lesson(batch), F.cross_entropy(scores, batch.targets))
