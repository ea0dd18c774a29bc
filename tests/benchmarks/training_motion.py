"""What the temporal part of the video encoder is worth on clips whose frames tell nothing alone: accuracy, by seeds.

    python tests/benchmarks/training_motion.py [--seeds 3] [--epochs 15] [--clips 2000]

A bright 3×3 square moves over fixed noise, one or two pixels a frame around the edges, in one of four directions (the
classes): 8 frames of 16×16 grey pixels. The variants have the same recipe, data, order and steps; "none, deeper" has so
many blocks without a temporal part that a clip costs at least as much arithmetic as with both. Each seed draws clips,
order and parameters anew; 1,000 unseen clips.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from typing import Any

import numpy as np
import pyarrow as pa
import torch

sys.path.insert(0, str(__import__("pathlib").Path(__file__).parents[2]))

from pipelines.training.evaluate import evaluate
from pipelines.training.feed import feed_for
from pipelines.training.flops import Flops
from pipelines.training.kinds import Optimiser, VideoClassifier
from pipelines.training.rows import TableRows, with_sample_ids
from pipelines.training.trainer import Trainer
from tests.pipelines.training.examples import png

FRAMES, SIZE = 8, 16
WAYS = ((0, 1), (0, -1), (1, 0), (-1, 0))
VARIANTS: dict[str, dict[str, Any]] = {
    "attention and convolution": {"temporal": "attention-convolution", "depth": 2},
    "attention": {"temporal": "attention", "depth": 2},
    "none": {"temporal": "none", "depth": 2},
    "none, deeper": {"temporal": "none", "depth": 3},
}


def clips(number: int, seed: int) -> pa.Table:
    """video (lists of PNG) and label (the direction's number)."""
    draws = np.random.default_rng(seed)
    rows, labels = [], []
    for _ in range(number):
        label, speed = int(draws.integers(4)), int(draws.integers(1, 3))
        down, right = WAYS[label]
        top, left = draws.integers(0, SIZE, 2)
        ground = draws.integers(0, 128, (SIZE, SIZE), dtype=np.uint8)
        frames = []
        for frame in range(FRAMES):
            picture, moved = ground.copy(), speed * frame
            across = np.ix_((top + down * moved + np.arange(3)) % SIZE, (left + right * moved + np.arange(3)) % SIZE)
            picture[across] = 255
            frames.append(png(picture))
        rows.append(frames)
        labels.append(label)
    return with_sample_ids(pa.table({"video": rows, "label": labels}))


def recipe(seed: int, epochs: int, **variant: Any) -> VideoClassifier:
    return VideoClassifier(
        frames=FRAMES,
        image_size=SIZE,
        colours="grey",
        patch=4,
        width=48,
        heads=3,
        epochs=epochs,
        global_batch_size=50,
        seed=seed,
        optimiser=Optimiser(learning_rate=2e-3, weight_decay=0.05),
        **variant,
    )


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--epochs", type=int, default=15)
    options.add_argument("--clips", type=int, default=2000)
    chosen = options.parse_args()
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU, one thread"
    print(f"{where}, torch {torch.__version__}: {chosen.clips} clips, {chosen.epochs} epochs, {chosen.seeds} seeds")
    print(f"{'temporal part':<28}{'MFLOP a clip':>13}{'parameters':>12}   accuracy of each seed, mean")
    sets = [(clips(chosen.clips, 2 * seed), clips(1000, 2 * seed + 1)) for seed in range(chosen.seeds)]
    for name, variant in VARIANTS.items():
        found, began = [], time.monotonic()
        for seed, (shown, unseen) in enumerate(sets):
            own = recipe(seed, chosen.epochs, **variant)
            trainer = Trainer(TableRows(shown, seed=seed, global_batch_size=own.global_batch_size), own)
            report = trainer.run()
            scored = evaluate(trainer.learner.model, own, trainer.classes, unseen, placement=trainer.placement)
            assert scored.accuracy is not None
            found.append(scored.accuracy)
        [batch] = shown.slice(0, 1).combine_chunks().to_batches()
        flops = Flops(trainer.learner.model).of(feed_for(own, trainer.classes)(batch, None))
        print(
            f"{name:<28}{flops / 1e6:>13.1f}{report.num_parameters:>12,}   "
            f"{' '.join(f'{value:.3f}' for value in found)}, {statistics.fmean(found):.3f}"
            f"   ({time.monotonic() - began:.0f} s)",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
