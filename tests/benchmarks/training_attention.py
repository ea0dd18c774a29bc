"""Attention on a GPU against the matmul and copy ceilings of the same run: whole rows, and packed documents.

    python tests/benchmarks/training_attention.py

Medians on random bf16 data. FLOP: 4·D for each pair of query and key and head, forward; two and a half times that
backward. Whole rows: causal, H·D = 2048, 16k tokens (32k at 32k). Documents: the published lengths
(`_document_lengths.py`), forward and backward of one attention, over all batches; useful tokens are real ones.
Says which kernels the profiler saw, and nothing without CUDA.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

sys.path.insert(0, str(__import__("pathlib").Path(__file__).parents[2]))

from pipelines.training.attention import attend, attend_reference
from pipelines.training.kernels import family, for_process, observed
from pipelines.training.loss import chunk_slopes, chunked_cross_entropy, plain_cross_entropy
from pipelines.training.spans import Kernel, Spans, spans
from pipelines.training.step import slopes_for
from tests.benchmarks._cuda_timing import copy_ceiling, matmul_ceiling, median_s
from tests.benchmarks._document_lengths import LONGEST, packed, padded, published_lengths

WHOLE = ((128, 32_768), (128, 8192), (64, 8192), (64, 1024), (128, 1024))
DOCUMENTS = ((128, 16), (64, 12))
"""(head width, heads)"""


def main() -> int:
    if not torch.cuda.is_available():
        print("no CUDA device: nothing to measure here")
        return 0
    for_process()
    matmul, copied = matmul_ceiling(), copy_ceiling()
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}")
    print(f"ceilings of this run: bf16 matmul {matmul / 1e12:.1f} TFLOP/s, copy {copied / 1e9:.0f} GB/s")
    whole_rows(matmul)
    documents(matmul)
    slopes_alone(copied)
    loss_heads(matmul)
    return 0


def whole_rows(matmul: float) -> None:
    print(
        f"\n{'whole rows':<16}{'kernels':<9}{'fwd ms':>9}{'fwd+bwd':>9}{'fwd':>8}{'fwd+bwd of matmul':>19}{'error':>10}"
    )
    for width, length in WHOLE:
        heads, rows = 2048 // width, max(16_384 // length, 1)
        q, k, v, slope = _noise((rows, heads, length, width))

        def forward(q: Any = q, k: Any = k, v: Any = v) -> torch.Tensor:
            return attend(q, k, v, causal=True)

        both = _with_backward(forward, slope)
        served = family(observed(both))
        with torch.no_grad():
            forward_s = median_s(forward)
        both_s = median_s(both)
        flops = 4.0 * width * heads * rows * length * (length + 1) / 2
        print(
            f"D{width}/{length:<12}{served:<9}{forward_s * 1e3:>9.3f}{both_s * 1e3:>9.3f}"
            f"{flops / forward_s / matmul:>8.3f}{3.5 * flops / both_s / matmul:>19.3f}{_error(width):>10.1e}",
            flush=True,
        )


def documents(matmul: float) -> None:
    lengths = published_lengths()
    tokens = sum(lengths)
    print(f"\n{len(lengths)} documents, {tokens:,} tokens, the longest {max(lengths):,}: forward + backward")
    print(f"{'layout':<34}{'kernels':<9}{'ms':>9}{'Mtok/s':>9}{'padding':>9}{'of matmul':>11}{'vs as they come':>17}")
    for width, heads in DOCUMENTS:
        first: float | None = None
        for name, batches in _layouts(lengths):
            seconds, served, positions = 0.0, "", 0
            pairs = sum(size * (size + 1) / 2 for size in lengths)
            for rows, length, where in batches:
                q, k, v, slope = _noise((rows, heads, length, width))
                both = _with_backward(lambda q=q, k=k, v=v, w=where: attend(q, k, v, causal=True, spans=w), slope)
                served = served or family(observed(both))
                seconds += median_s(both, repeats=5, warm_up=2)
                positions += rows * length
            first = first or seconds
            print(
                f"{f'D{width} H{heads} {name}':<34}{served:<9}{seconds * 1e3:>9.1f}{tokens / seconds / 1e6:>9.2f}"
                f"{1 - tokens / positions:>9.1%}{3.5 * 4 * width * heads * pairs / seconds / matmul:>11.3f}"
                f"{first / seconds:>16.2f}x",
                flush=True,
            )


def _layouts(lengths: list[int]) -> list[tuple[str, list[tuple[int, int, Spans | None]]]]:
    def rows(ordered: bool) -> list[tuple[int, int, Spans | None]]:
        return [(len(sizes), -(-max(sizes) // 16) * 16, None) for sizes in padded(lengths, 32, ordered=ordered)]

    def sequences(kernel: Kernel) -> list[tuple[int, int, Spans | None]]:
        made = [spans(batch, LONGEST, kernel=kernel) for batch in packed(lengths, LONGEST, 4)]
        return [(4, LONGEST, where.each(lambda tensor: tensor.cuda())) for where in made]

    return [
        ("padded to 32, as they come", rows(False)),
        ("padded to 32, short to long", rows(True)),
        ("packed to 4x8192, varlen", sequences("varlen")),
        ("packed to 4x8192, flex", sequences("flex")),
    ]


def loss_heads(matmul: float) -> None:
    """16k positions, 50,304 ids, width 768: forward and gradients of both sides."""
    draws = torch.Generator("cuda").manual_seed(0)
    hidden = torch.randn(16_384, 768, generator=draws, device="cuda").bfloat16().requires_grad_()
    weight = (torch.randn(50_304, 768, generator=draws, device="cuda") / 28).requires_grad_()
    targets = torch.randint(0, 50_304, (16_384,), generator=draws, device="cuda")
    fused = torch.compile(chunk_slopes)
    flops = 6.0 * hidden.numel() * len(weight)
    print(f"\n{'loss head':<26}{'ms':>9}{'of matmul':>11}{'extra GiB':>11}")
    heads: list[tuple[str, Callable[[], Any]]] = [("plain, all logits", lambda: _plain(hidden, weight, targets))]
    for how, slopes in (("compiled", fused), ("kernel", slopes_for(hidden.device))):
        for chunk in (2048, 4096, 8192):
            heads.append(
                (
                    f"chunks of {chunk}, {how}",
                    lambda c=chunk, s=slopes: chunked_cross_entropy(hidden, weight, targets, chunk=c, slopes=s),
                )
            )
    for name, head in heads:

        def both(head: Callable[[], Any] = head) -> None:
            hidden.grad = weight.grad = None
            with torch.autocast("cuda", dtype=torch.bfloat16):
                mean = head()[0]
            mean.backward()

        seconds = median_s(both)
        held = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        both()
        extra = torch.cuda.max_memory_allocated() - held
        print(f"{name:<26}{seconds * 1e3:>9.2f}{flops / seconds / matmul:>11.3f}{extra / 2**30:>11.2f}", flush=True)


def slopes_alone(copied: float) -> None:
    """4,096 rows of 50,304 bf16 logits: the own kernel, the compiled twin; the floor is one read and one write."""
    in_place_slopes = slopes_for(torch.device("cuda"))
    draws = torch.Generator("cuda").manual_seed(0)
    targets = torch.randint(0, 50_304, (4096,), generator=draws, device="cuda")
    logits = [torch.randn(4096, 50_304, generator=draws, device="cuda").bfloat16() for _ in range(3)]
    fused, floor_s, turn = torch.compile(chunk_slopes), 2 * logits[0].nbytes / copied, iter(range(10**9))
    print(f"\n{'slopes of a chunk':<26}{'ms':>9}{'x the bytes floor':>19}")
    ways: list[tuple[str, Any]] = [("eager", chunk_slopes), ("compiled", fused), ("own kernel", in_place_slopes)]
    for block, warps in ((8192, 16), (8192, 32), (16_384, 32)):
        ways.append((f"own kernel, {block} by {warps}", partial(in_place_slopes, block=block, warps=warps)))
    for name, slopes in ways:
        seconds = median_s(lambda s=slopes: s(logits[next(turn) % 3], targets))
        print(f"{name:<26}{seconds * 1e3:>9.3f}{seconds / floor_s:>19.2f}", flush=True)


def _plain(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return plain_cross_entropy(hidden, weight, targets)


def _noise(shape: tuple[int, int, int, int]) -> list[torch.Tensor]:
    """q, k, v with gradients, and a slope; laid out as a model's projections are: positions outside heads."""
    draws = torch.Generator("cuda").manual_seed(0)
    rows, heads, length, width = shape

    def one() -> torch.Tensor:
        return torch.randn(rows, length, heads, width, generator=draws, device="cuda").bfloat16().transpose(1, 2)

    return [*(one().requires_grad_() for _ in range(3)), one()]


def _with_backward(forward: Callable[[], torch.Tensor], slope: torch.Tensor) -> Callable[[], None]:
    inputs = list((forward.__defaults__ or ())[:3])

    def both() -> None:
        torch.autograd.grad(forward(), inputs, slope)

    return both


def _error(width: int) -> float:
    """‖out - exact‖ / ‖exact‖ of a row of 1,024 against float64."""
    q, k, v, _ = _noise((1, 4, 1024, width))
    with torch.no_grad():
        exact = attend_reference(q.double(), k.double(), v.double(), causal=True)
        return float((attend(q, k, v, causal=True).double() - exact).norm() / exact.norm())


if __name__ == "__main__":
    sys.exit(main())
