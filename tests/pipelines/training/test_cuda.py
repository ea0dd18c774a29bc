"""On a GPU: the same results as on the CPU within the precision, fused kernels in use, a job that stops and goes on."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
import torch

from pipelines.training.attention import attend, attend_reference
from pipelines.training.classes import ClassTable
from pipelines.training.feed import feed_for
from pipelines.training.int8_blocks import dequantise, quantise
from pipelines.training.kernels import family, for_process, observed, probe
from pipelines.training.kinds import LanguageModel, Precision
from pipelines.training.loss import IGNORE, chunk_slopes, chunked_cross_entropy, plain_cross_entropy
from pipelines.training.model import build
from pipelines.training.precision import place
from pipelines.training.rows import TableRows
from pipelines.training.sequences import Packed
from pipelines.training.spans import Kernel, spans
from pipelines.training.step import Learner, slopes_for
from pipelines.training.temporal import attend_over_time, attend_over_time_plain
from pipelines.training.trainer import Trainer
from tests.pipelines.training.examples import SMALL, fast, table_for, texts

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

CLASSES = {
    "text-classifier": ClassTable(("science", "sport", "trade")),
    "image-classifier": ClassTable((0, 1)),
    "video-classifier": ClassTable((0, 1)),
}
NEAR = {"fp32": 1e-4, "fp16": 1e-2, "bf16": 3e-2}


def _relative(ours: torch.Tensor, exact: torch.Tensor) -> float:
    return float((ours.double() - exact).norm() / exact.norm())


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_in_bf16_is_near_the_float64_reference(causal: bool, masked: bool) -> None:
    draws = torch.Generator("cuda").manual_seed(0)
    exact = [torch.randn(2, 4, 256, 64, generator=draws, device="cuda", dtype=torch.float64) for _ in range(3)]
    half = [tensor.bfloat16().requires_grad_() for tensor in exact]
    exact = [tensor.detach().double().requires_grad_() for tensor in half]
    keys = torch.arange(256, device="cuda") < torch.tensor([[256], [100]], device="cuda") if masked else None
    ours = attend(*half, causal=causal, keys_BT=keys)
    theirs = attend_reference(*exact, causal=causal, keys_BT=keys)
    weights = torch.randn(ours.shape, generator=draws, device="cuda", dtype=torch.float64)
    (ours * weights.bfloat16()).sum().backward()
    (theirs * weights.bfloat16().double()).sum().backward()
    assert _relative(ours.detach(), theirs.detach()) < 1e-2
    for a, b in zip(half, exact, strict=True):
        assert a.grad is not None and b.grad is not None and _relative(a.grad, b.grad) < 1e-2


@pytest.mark.filterwarnings("ignore")  # torch's own, while it compiles
@pytest.mark.parametrize("window", [None, 100])
@pytest.mark.parametrize("kernel", ["varlen", "flex", "mask"])
def test_spans_in_bf16_are_near_the_float64_reference(kernel: Kernel, window: int | None) -> None:
    """Real positions alone: what padding gives is nobody's business, and the kernels differ in it."""
    lengths = [[200, 56, 128], [384], [1, 127, 100]]
    draws = torch.Generator("cuda").manual_seed(0)
    exact = [torch.randn(3, 4, 384, 64, generator=draws, device="cuda", dtype=torch.float64) for _ in range(3)]
    half = [tensor.bfloat16().requires_grad_() for tensor in exact]
    exact = [tensor.detach().double().requires_grad_() for tensor in half]
    where = spans(lengths, 384, kernel=kernel, window=window).each(lambda tensor: tensor.cuda())
    ours = attend(*half, causal=True, spans=where)
    theirs = attend_reference(*exact, causal=True, spans=where)
    weights = torch.randn(ours.shape, generator=draws, device="cuda", dtype=torch.float64)
    weights[2, :, 228:] = 0
    (ours * weights.bfloat16()).sum().backward()
    (theirs * weights.bfloat16().double()).sum().backward()
    real = weights != 0
    assert _relative(ours.detach() * real, theirs.detach() * real) < 1e-2
    for a, b in zip(half, exact, strict=True):
        assert a.grad is not None and b.grad is not None and _relative(a.grad, b.grad) < 1e-2


@pytest.mark.filterwarnings("ignore")  # the profiler's own
@pytest.mark.parametrize(
    ("packed", "window", "expected"), [(False, None, "cudnn"), (True, None, "flash"), (False, 64, "flash")]
)
def test_the_chosen_kernels_are_the_ones_that_run(packed: bool, window: int | None, expected: str) -> None:
    for_process()
    found = probe(
        torch.device("cuda"), torch.bfloat16, heads=4, width=64, length=512, packed=packed, causal=True, window=window
    )
    assert found == expected


@pytest.mark.filterwarnings("ignore")  # the profiler's and the compiler's own
@pytest.mark.parametrize("compiled", [False, True])
def test_a_step_launches_the_chosen_kernels(compiled: bool) -> None:
    recipe = fast(SMALL["language-model"], width=128, heads=2, context=256)
    [batch] = table_for(recipe, 32).combine_chunks().to_batches()
    placement = place("cuda", "bf16")
    model = build(recipe, 0, placement.device)
    learner = Learner(model, recipe.optimiser, placement, compile_with="inductor" if compiled else None)
    tensors = feed_for(recipe, None)(batch, None).to(placement.device)
    learner.step(tensors, 1e-3)
    names = observed(lambda: learner.step(tensors, 1e-3))
    assert family(names) == "cudnn", names


@pytest.mark.filterwarnings("ignore")  # torch's own, while it compiles
@pytest.mark.parametrize("compiled", [False, True])
def test_packed_training_follows_the_cpu(compiled: bool) -> None:
    recipe = LanguageModel(
        width=32, depth=2, heads=2, context=128, layout=Packed(tokens_per_step=256), epochs=2, global_batch_size=8
    )
    jobs = [
        Trainer(TableRows(texts(64), seed=0, global_batch_size=8), recipe.model_copy(update=changes)).run()
        for changes in ({"device": "cpu"}, {"precision": "fp16"}, {"precision": "bf16", "compile": compiled})
    ]
    for job in jobs[1:]:
        assert job.losses == pytest.approx(jobs[0].losses, rel=3e-2)
        assert (job.num_tokens, job.num_samples, job.steps) == (jobs[0].num_tokens, jobs[0].num_samples, jobs[0].steps)
        assert job.allocator is not None and job.pace is not None
    assert [job.attention for job in jobs[1:]] == ["flash", "flex" if compiled else "flash"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_chunked_loss_is_near_the_float64_twin(dtype: torch.dtype) -> None:
    draws = torch.Generator("cuda").manual_seed(1)
    hidden = torch.randn(3000, 64, generator=draws, device="cuda").requires_grad_()
    weight = (torch.randn(1000, 64, generator=draws, device="cuda") / 8).requires_grad_()
    targets = torch.randint(0, 1000, (3000,), generator=draws, device="cuda")
    targets[::7] = IGNORE
    exact = [tensor.detach().double().requires_grad_() for tensor in (hidden, weight)]
    with torch.autocast("cuda", dtype=dtype):
        mean, _ = chunked_cross_entropy(hidden, weight, targets, chunk=512)
    plain, _ = plain_cross_entropy(*exact, targets)
    mean.backward()
    plain.backward()
    assert mean.item() == pytest.approx(plain.item(), rel=1e-3)
    for a, b in zip((hidden, weight), exact, strict=True):
        assert a.grad is not None and b.grad is not None and _relative(a.grad, b.grad) < 1e-2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("size", [320, 8192, 50_304])
def test_the_loss_kernel_equals_its_twin(dtype: torch.dtype, size: int) -> None:
    draws = torch.Generator("cuda").manual_seed(2)
    logits = (torch.randn(300, size, generator=draws, device="cuda") * 3).to(dtype)
    targets = torch.randint(0, size, (300,), generator=draws, device="cuda")
    targets[::5] = IGNORE
    losses, slopes = chunk_slopes(logits.double(), targets)
    in_place_slopes = slopes_for(logits.device)
    for _ in range(3):
        ours, theirs = in_place_slopes(logits.clone(), targets)
        torch.testing.assert_close(ours.double(), losses, rtol=1e-5, atol=1e-5)
        assert _relative(theirs, slopes) < {torch.bfloat16: 4e-3, torch.float16: 1e-3, torch.float32: 1e-5}[dtype]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize(
    ("frames", "width", "masked"),
    [
        (1, 16, False),
        (13, 64, True),
        (16, 64, False),
        (32, 64, True),
        (64, 64, True),
        (100, 32, True),
        (64, 128, False),
    ],
)
def test_the_temporal_kernels_are_near_their_twin(frames: int, width: int, masked: bool, dtype: torch.dtype) -> None:
    """The same numbers every time: nothing is added up in any order."""
    draws = torch.Generator("cuda").manual_seed(3)
    qkv = torch.randn(3, frames, 11, 6 * width, generator=draws, device="cuda").to(dtype).requires_grad_()
    taps = torch.randn(3, 2 * width, generator=draws, device="cuda").requires_grad_()
    slope = torch.randn(3, frames, 11, 2 * width, generator=draws, device="cuda").to(dtype)
    lengths = torch.tensor([frames, 1, max(frames // 2, 1)], dtype=torch.int32, device="cuda") if masked else None
    exact = [tensor.detach().double().requires_grad_() for tensor in (qkv, taps)]
    theirs = attend_over_time_plain(*exact, 2, lengths)
    wanted = torch.autograd.grad(theirs, exact, slope.double())
    found = []
    for _ in range(2):
        ours = attend_over_time(qkv, taps, 2, lengths)
        found.append([ours, *torch.autograd.grad(ours, (qkv, taps), slope)])
    near = 5e-3 if dtype == torch.bfloat16 else 1e-3 if dtype == torch.float16 else 1e-5
    for a, b in zip(found[0], (theirs, *wanted), strict=True):
        assert _relative(a.detach(), b.detach()) < near
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("size", [3, 1024, 5000, 1_000_000])
def test_the_int8_kernels_equal_their_twins(size: int) -> None:
    draws = torch.Generator().manual_seed(size)
    x, error = (torch.randn(size, generator=draws) * scale for scale in (1e-3, 1e-5))
    if size == 5000:
        x[1], x[4500] = torch.inf, torch.nan
    for given in (None, error):
        plain = quantise(x, error=given)
        ours = quantise(x.cuda(), error=None if given is None else given.cuda())
        for a, b in zip(ours, plain, strict=True):
            torch.testing.assert_close(a.cpu(), b, rtol=0, atol=0, equal_nan=True)
        back = dequantise(*ours[:2])
        torch.testing.assert_close(back.cpu(), dequantise(*plain[:2]), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("precision", list(NEAR))
@pytest.mark.parametrize("kind", list(SMALL))
def test_steps_follow_the_cpu(kind: str, precision: Precision) -> None:
    recipe, classes = SMALL[kind], CLASSES.get(kind)
    [batch] = table_for(recipe, 32).combine_chunks().to_batches()
    tensors = feed_for(recipe, classes)(batch, None)
    placements = place("cpu", "fp32"), place("cuda", precision)
    cpu, gpu = (Learner(build(recipe, len(classes or ()), p.device), recipe.optimiser, p) for p in placements)
    for _ in range(5):
        theirs = cpu.step(tensors, 5e-3)
        ours = gpu.step(tensors.pinned().to(torch.device("cuda")), 5e-3)
        assert float(ours.mean) == pytest.approx(float(theirs.mean), rel=NEAR[precision])


@pytest.mark.parametrize("kind", list(SMALL))
def test_a_stopped_job_goes_on(kind: str, tmp_path: Path) -> None:
    recipe = fast(SMALL[kind], epochs=4)

    def job(folder: str, stop_at: int | None = None) -> tuple[Trainer, list[pa.Table]]:
        heard: list[pa.Table] = []
        rows = TableRows(table_for(recipe, 200), seed=0, global_batch_size=16)
        trainer = Trainer(
            rows,
            recipe,
            checkpoint_dir=tmp_path / folder,
            feedback=heard.append,
            should_stop=lambda: trainer.step == stop_at,
        )
        trainer.run()
        return trainer, heard

    whole, seen = job("whole")
    first, before = job("parts", stop_at=21)
    second, after = job("parts")
    assert whole.placement.device.type == "cuda" and whole.report().precision == "bf16"
    assert (first.step, second.resumed_from, second.step) == (21, 21, whole.step)
    ours, theirs = pa.concat_tables(before + after), pa.concat_tables(seen)
    assert ours.drop_columns(["loss", "correct"]) == theirs.drop_columns(["loss", "correct"])
    assert second.tally.losses == pytest.approx(whole.tally.losses, rel=2e-2)
    assert whole.report().peak_memory_bytes == torch.cuda.max_memory_allocated()


@pytest.mark.filterwarnings("ignore")  # torch's own, while it compiles
@pytest.mark.parametrize("kind", list(SMALL))
def test_compiled_steps_follow_plain_ones(kind: str) -> None:
    recipe = fast(SMALL[kind], compile=True, epochs=2)
    rows = TableRows(table_for(recipe, 96), seed=0, global_batch_size=16)
    compiled = Trainer(rows, recipe).run()
    plain = Trainer(rows, fast(recipe, compile=False)).run()
    assert compiled.losses == pytest.approx(plain.losses, rel=2e-2)
