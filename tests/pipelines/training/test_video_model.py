"""The video encoder: clips are told apart by what moves, short clips are themselves, without time there is no order."""

from __future__ import annotations

import pytest
import torch

from pipelines.training.classes import ClassTable
from pipelines.training.evaluate import evaluate
from pipelines.training.feed import feed_for
from pipelines.training.kinds import VideoClassifier
from pipelines.training.model import build
from pipelines.training.rows import TableRows
from pipelines.training.trainer import Trainer
from pipelines.training.video_model import VideoEncoder
from tests.pipelines.training.examples import SMALL, fast, quick_optimiser, videos

CPU = torch.device("cpu")


def _model(**changes: object) -> VideoEncoder:
    """With every branch awake: those that begin at zero get noise."""
    recipe = fast(SMALL["video-classifier"], **changes)
    model = build(recipe, 2, CPU)
    draws = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.3, generator=draws)
    assert isinstance(model, VideoEncoder)
    return model


def _clips(seed: int = 0) -> torch.Tensor:
    return torch.randn(3, 4, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_a_short_clip_is_the_clip_alone_and_what_follows_changes_nothing() -> None:
    model, pixels = _model(), _clips()
    keys = torch.tensor([[True] * 4, [True, True, True, False], [True, False, False, False]])
    scores = model(pixels, keys)
    torch.testing.assert_close(scores[:1], model(pixels[:1]))
    torch.testing.assert_close(scores[1:2], model(pixels[1:2, :3]))
    pixels[1, 3:], pixels[2, 1:] = 5.0, -5.0
    torch.testing.assert_close(model(pixels, keys), scores)


@pytest.mark.parametrize(
    ("temporal", "ordered"), [("attention-convolution", True), ("attention", True), ("none", False)]
)
def test_only_a_temporal_part_knows_the_order_of_frames(temporal: str, ordered: bool) -> None:
    model, pixels = _model(temporal=temporal), _clips()
    assert torch.allclose(model(pixels), model(pixels.flip(1)), atol=1e-5) is not ordered


def test_the_taps_begin_at_nothing_and_learn() -> None:
    recipe = SMALL["video-classifier"]
    model = build(recipe, 2, CPU)
    assert isinstance(model, VideoEncoder)
    taps = model.blocks[0].time.taps.weight  # type: ignore[union-attr]
    assert not taps.any()
    [batch] = videos(20).combine_chunks().to_batches()
    rows = TableRows(videos(64), seed=0, global_batch_size=16)
    trainer = Trainer(rows, recipe)
    trainer.run()
    assert trainer.learner.model.blocks[0].time.taps.weight.any()  # type: ignore[union-attr]
    made = feed_for(recipe, ClassTable((0, 1)))(batch, None)
    assert made.inputs.shape == (20, 4, 1, 8, 8) and made.keys_BT is not None and made.keys_BT.sum() == 76


def test_what_moves_which_way_is_learned_on_a_cpu() -> None:
    """No single frame tells: the model without time stays at chance."""
    shown, unseen = videos(400), videos(200, seed=1)
    found = {}
    for temporal in ("attention-convolution", "none"):
        recipe = fast(
            SMALL["video-classifier"], epochs=12, augment="none", patch=2, temporal=temporal, depth=2,
            optimiser=quick_optimiser(3e-3),
        )  # fmt: skip
        trainer = Trainer(TableRows(shown, seed=0, global_batch_size=16), recipe)
        trainer.run()
        found[temporal] = evaluate(trainer.learner.model, recipe, trainer.classes, unseen).accuracy
    assert found["attention-convolution"] is not None and found["attention-convolution"] > 0.9
    assert found["none"] is not None and 0.35 < found["none"] < 0.65


def test_clips_and_heads_fit() -> None:
    for changes, message in (
        ({"image_size": 9, "patch": 4}, "patches of 4 do not tile 9 pixels"),
        ({"width": 34, "heads": 4}, "width 34 does not split into 4 heads"),
    ):
        with pytest.raises(ValueError, match=message):
            VideoClassifier.model_validate(changes)
