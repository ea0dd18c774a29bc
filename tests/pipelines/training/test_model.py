"""Models from recipes: the same numbers for the same seed, shapes, padding that does not matter."""

from __future__ import annotations

import pytest
import torch

from pipelines.training.image_model import num_stages
from pipelines.training.kinds import ImageClassifier
from pipelines.training.model import build, empty, generator, initialise, num_parameters
from pipelines.training.presets import PRESETS
from pipelines.training.tokens import PAD
from pipelines.training.transformer import CausalTransformer, EncoderClassifier, keys_from_lengths, ngram_buckets
from tests.pipelines.training.examples import SMALL, fast

CPU = torch.device("cpu")


@pytest.mark.parametrize("kind", list(SMALL))
def test_parameters_depend_on_the_seed_alone(kind: str) -> None:
    before = torch.get_rng_state()
    ours, again = build(SMALL[kind], 3, CPU), build(SMALL[kind], 3, CPU)
    other = build(fast(SMALL[kind], seed=1), 3, CPU)
    assert torch.equal(torch.get_rng_state(), before), "the global generator is not touched"
    states = [model.state_dict() for model in (ours, again, other)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert any(not torch.equal(states[0][name], states[2][name]) for name in states[0])
    assert all(torch.isfinite(tensor).all() for tensor in states[0].values())
    assert num_parameters(ours) == sum(tensor.numel() for tensor in states[0].values())


@pytest.mark.parametrize("kind", list(SMALL))
def test_every_parameter_is_given_a_value(kind: str) -> None:
    model = empty(SMALL[kind], 3)
    for parameter in model.parameters():
        torch.nn.init.constant_(parameter, float("nan"))
    initialise(model, generator(0, "parameters"))
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


def _encoder(ngrams: tuple[int, ...] = (2, 3)) -> EncoderClassifier:
    model = EncoderClassifier(
        vocabulary=320, width=16, depth=2, heads=2, feed_forward="gelu", num_classes=5, ngrams=ngrams, num_buckets=64
    )
    draws = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=draws)
    return model.eval()


def test_padding_does_not_change_a_class_score() -> None:
    model = _encoder()
    ids = torch.randint(0, 256, (3, 10), generator=torch.Generator().manual_seed(1))
    alone = model(ids, None)
    padded = torch.cat((ids, torch.full((3, 6), PAD)), dim=1)
    torch.testing.assert_close(model(padded, keys_from_lengths(torch.tensor([10, 10, 10]), 16)), alone)


def test_ngrams_see_order_and_their_own_length() -> None:
    ids = torch.tensor([[1, 2, 3, 4, 2, 3]])
    two, three = ngram_buckets(ids, (2, 3), 1 << 20)
    assert two[0, 2] == two[0, 5] and three[0, 2] != three[0, 5]
    assert two[0, 1] != ngram_buckets(ids.flip(1), (2,), 1 << 20)[0][0, 4]
    assert len(torch.unique(torch.stack((two, three)))) == 2 * 6 - 1
    every = torch.arange(256).repeat_interleave(256), torch.arange(256).repeat(256)
    buckets = ngram_buckets(torch.stack(every, dim=1), (2,), 4096)[0][:, 1]
    counts = torch.bincount(buckets, minlength=4096)
    assert int(buckets.min()) >= 0 and float(counts.float().std()) < 2 * 16**0.5, "bytes pairs spread over the buckets"


def test_without_ngrams_there_is_no_table() -> None:
    model = _encoder(ngrams=())
    assert model.ngram_embedding is None
    assert model(torch.zeros(2, 4, dtype=torch.int64), None).shape == (2, 5)


@pytest.mark.parametrize("feed_forward", ["gelu", "swiglu"])
def test_a_language_model_does_not_look_ahead(feed_forward: str) -> None:
    model = CausalTransformer(vocabulary=320, width=16, depth=2, heads=2, feed_forward=feed_forward)  # type: ignore[arg-type]
    draws = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=draws)
    ids = torch.randint(0, 256, (2, 12), generator=draws)
    changed = ids.clone()
    changed[:, 7:] = 5
    torch.testing.assert_close(model(ids)[:, :7], model(changed)[:, :7])
    assert not torch.allclose(model(ids)[:, 7:], model(changed)[:, 7:])


@pytest.mark.parametrize(("size", "stages"), [(8, 2), (16, 2), (28, 2), (32, 3), (64, 4), (128, 5), (256, 5)])
def test_stages_follow_the_image(size: int, stages: int) -> None:
    assert num_stages(size) == stages


@pytest.mark.parametrize(("size", "colours"), [(8, "grey"), (32, "rgb"), (33, "rgb")])
def test_images_of_many_sizes(size: int, colours: str) -> None:
    recipe = ImageClassifier.model_validate({"image_size": size, "colours": colours, "width": 8})
    scores = build(recipe, 4, CPU)(torch.zeros(2, 1 if colours == "grey" else 3, size, size))
    assert scores.shape == (2, 4) and torch.equal(scores, torch.zeros(2, 4)), "the head begins at zero"


def test_an_image_is_scored_alone() -> None:
    model = build(fast(SMALL["image-classifier"], augment="none"), 3, CPU)
    draws = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=draws)
    block = torch.randn(5, 1, 8, 8, generator=draws)
    torch.testing.assert_close(model(block)[2:3], model(block[2:3]))


def test_generators_differ_by_purpose_and_position() -> None:
    draws = {
        float(torch.rand((), generator=generator(*key)))
        for key in [(0, "a"), (0, "a", 1), (0, "b"), (1, "a"), (0, "aa"), (2**62, "a")]
    }
    assert len(draws) == 6
    assert float(torch.rand((), generator=generator(3, "x", 9))) == float(
        torch.rand((), generator=generator(3, "x", 9))
    )


def test_the_large_preset_has_the_size_in_its_name() -> None:
    assert num_parameters(empty(PRESETS["language-model-85m"], 0)) == pytest.approx(85.4e6, rel=0.01)
