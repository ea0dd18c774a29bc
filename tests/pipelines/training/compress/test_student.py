"""Students: their size, what they learn from, what they begin with."""

from __future__ import annotations

import pytest
import torch

from curator.errors import RecipeError
from pipelines.training.compress.recipe import Distil
from pipelines.training.compress.scoring import run_of
from pipelines.training.compress.student import layer_map, new_student, student_recipe
from pipelines.training.kinds import ImageClassifier, TextClassifier
from tests.pipelines.training.compress.conftest import Trained

TEXT = TextClassifier(width=128, depth=4, heads=4)


def test_sizes_are_shares_of_the_teachers() -> None:
    student = student_recipe(TEXT, Distil(width=0.5, depth=0.5, ngram_buckets=0.25, epochs=3), seed=9)
    assert isinstance(student, TextClassifier)
    assert (student.width, student.depth, student.heads, student.ngram_buckets) == (64, 2, 2, 4096)
    assert (student.epochs, student.seed, student.optimiser) == (3, 9, TEXT.optimiser)


@pytest.mark.parametrize(
    ("teacher", "wish", "told"),
    [
        (TextClassifier(depth=1), Distil(depth=0.5), "depth of 1 is 0.5"),
        (TEXT, Distil(depth=0.3), "depth of 4 is 1.2"),
        (TextClassifier(heads=1), Distil(width=0.5), "heads of 1 is 0.5"),
        (ImageClassifier(width=24), Distil(width=0.5), "multiple of 8"),
        (ImageClassifier(), Distil(ngram_buckets=0.5), "no n-grams"),
    ],
)  # fmt: skip
def test_a_size_that_cannot_be_is_refused(teacher: TextClassifier, wish: Distil, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        student_recipe(teacher, wish, seed=0)


def test_layers_are_mapped_evenly_and_inside_stages() -> None:
    assert layer_map(TEXT, student_recipe(TEXT, Distil(depth=0.5), 0)) == [1, 3]
    image = ImageClassifier(image_size=32, depth=4)
    assert layer_map(image, student_recipe(image, Distil(depth=0.5), 0)) == [1, 3, 5, 7, 9, 11]


def test_a_student_as_wide_begins_as_its_teachers_layers(text: Trained) -> None:
    teacher = text.model
    student = new_student(teacher, student_recipe(teacher.recipe, Distil(depth=0.5), 0))
    for name, tensor in student.model.blocks[0].state_dict().items():
        assert torch.equal(tensor, teacher.model.blocks[1].state_dict()[name])
    teacher.model.blocks = teacher.model.blocks[1:]
    [batch, *_] = text.rows.batches
    assert torch.equal(*(run_of(one.model.eval())(batch.inputs, batch.keys_BT) for one in (teacher, student)))


def test_a_narrower_text_student_begins_with_the_best_projection_of_the_tables(text: Trained) -> None:
    teacher = text.model
    student = new_student(teacher, student_recipe(teacher.recipe, Distil(width=0.5, ngram_buckets=0.5), 0))
    table = teacher.model.ngram_embedding.weight.detach()
    folded = (table[:128] + table[128:]) / 2
    every = torch.cat([teacher.model.embedding.weight.detach(), table])
    kept = torch.linalg.svd(every, full_matrices=False)[2][:16].T
    assert torch.allclose(
        student.model.ngram_embedding.weight.norm(dim=1), (folded @ kept).norm(dim=1), rtol=1e-3, atol=1e-4
    )
    assert torch.equal(student.model.blocks[0].out.weight, torch.zeros_like(student.model.blocks[0].out.weight))
