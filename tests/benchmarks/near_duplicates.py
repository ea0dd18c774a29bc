"""Near duplicates end to end: read, shingle, sign, band, verify, cluster, filter, write; recall by similarity, what new
rows cost, memory a document; datatrove's MinHash beside it.

`--texts FILE.parquet` gives the text to make documents of (default: the documentation of the installed packages);
datatrove runs on the same first documents, by `--peer PYTHON` or in an environment made for it.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curator.duplicates import DuplicateIndex, Edges, Shape, band_hashes, clusters, content_hash, minhash
from curator.duplicates.shingles import overlap
from curator.readers import WorkUnit, discover, plan_inputs, read
from curator.recipe import parse
from curator.shards import ShardWriter
from curator.signals.buffers import row_bytes
from curator.signals.text.unicode import SOLO, char_classes
from curator.storage import Store
from pipelines.demo.corpus import write_corpus
from pipelines.job import Job
from pipelines.runs import curate_here

sys.path.insert(0, str(Path(__file__).parent))
import _peer_env

DOC_BYTES: Final = 5_000
THRESHOLD: Final = 0.8
BANDS, ROWS_A_BAND = 14, 8
WORDS: Final = 400
"""Of a document of the recall sample."""

DATATROVE: Final = """
import sys, resource, glob, shutil
from datatrove.executor import LocalPipelineExecutor as Run
from datatrove.pipeline.readers import ParquetReader
from datatrove.pipeline.writers import ParquetWriter
from datatrove.pipeline.dedup import MinhashDedupSignature as Sign, MinhashDedupBuckets as Buckets
from datatrove.pipeline.dedup import MinhashDedupCluster as Cluster, MinhashDedupFilter as Filter
from datatrove.pipeline.dedup.minhash import MinhashConfig
folder, out = sys.argv[1:]
config = MinhashConfig()
reader = lambda: ParquetReader(folder)
if __name__ == "__main__":
    for steps, tasks in (
        ([reader(), Sign(out + "/sig", config=config)], 1),
        ([Buckets(out + "/sig", out + "/buckets", config=config)], config.num_buckets),
        ([Cluster(out + "/buckets", out + "/remove", config=config)], 1),
        ([reader(), Filter(out + "/remove"), ParquetWriter(out + "/kept")], 1),
    ):
        Run(pipeline=steps, tasks=tasks, workers=1, logging_dir=f"{out}/log-{tasks}-{len(steps)}").run()
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    import pyarrow.parquet as pq
    kept = sum(pq.ParquetFile(name).metadata.num_rows for name in glob.glob(out + "/kept/*"))
    print("CPU", sum(u.ru_utime + u.ru_stime for u in used), kept)
"""


def paragraphs(texts: Path | None, scratch: Path) -> list[str]:
    if texts is None:
        write_corpus(scratch / "seed.jsonl")
        documents = [json.loads(line)["text"] for line in (scratch / "seed.jsonl").open(encoding="utf-8")]
    else:
        documents = pq.read_table(texts, columns=["text"])["text"].to_pylist()
    return [part for text in documents for part in text.split("\n\n") if len(part) > 40]


def document(parts: list[str], rng: np.random.Generator) -> str:
    """Paragraphs drawn at random, about `DOC_BYTES` in all."""
    chosen, size = [], 0
    while size < DOC_BYTES:
        part = parts[int(rng.integers(len(parts)))][: 2 * DOC_BYTES]
        chosen.append(part)
        size += len(part)
    return "\n\n".join(chosen)


def spoiled(text: str, share: float, rng: np.random.Generator) -> str:
    words = text.split(" ")
    hit = rng.random(len(words)) < share
    return " ".join(f"word{rng.integers(10**6)}" if bad else word for word, bad in zip(words, hit, strict=True))


def corpus(folder: Path, parts: list[str], count: int, seed: int) -> Iterator[Path]:
    """Eleven files: a tenth near copies (0.2 to 8% of the words changed), a twentieth exact ones."""
    rng = np.random.default_rng(seed)
    texts: list[str] = []
    step = -(-count // 11)
    for first in range(0, count, step):
        rows = []
        for _ in range(min(step, count - first)):
            dice = rng.random()
            text = document(parts, rng) if dice > 0.15 or not texts else texts[int(rng.integers(len(texts)))]
            text = spoiled(text, float(rng.uniform(0.002, 0.08)), rng) if 0.05 < dice <= 0.15 else text
            texts.append(text)
            rows.append(text)
        path = folder / f"part-{first:08d}.parquet"
        ids = pa.array(range(first, first + len(rows)))
        pq.write_table(pa.table({"id": ids, "text": rows}), path, compression="zstd", row_group_size=2_500)
        yield path


class Stages(dict[str, float]):
    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        begun = time.process_time()
        yield
        self[name] = self.get(name, 0.0) + time.process_time() - begun


def dedup(root: Path, files: list[Path]) -> tuple[Stages, int, Edges]:
    """The road of duplicates alone, of the product's own parts; (CPU-seconds by stage, documents kept, pairs)."""
    stages = Stages()
    plan = plan_inputs(discover([str(file) for file in files]), unit_rows=65_536)
    with stages.of("read"):
        rows = [_rows(unit, plan.schema) for unit in plan.units]
    shape = Shape(rows=tuple(rows), num_perm=BANDS * ROWS_A_BAND, bands=BANDS, ngram=5)
    store = Store.open(root)
    index = DuplicateIndex(store, "index", shape)
    for number, unit in enumerate(plan.units):
        with index.adding(number) as add:
            batches = read(unit, columns=["text"], schema=plan.schema)
            while True:
                with stages.of("read"):
                    batch = next(batches, None)
                if batch is None:
                    break
                with stages.of("content hash"):
                    hashes = content_hash(batch[1].column(0))
                with stages.of("shingle, sign"):
                    signed = minhash(batch[1].column(0), num_perm=shape.num_perm, ngram=5, seed=0)
                with stages.of("band"):
                    add(hashes, signed)
    with stages.of("band"):
        for shard in range(index.num_shards):
            index.seek(shard)
    with stages.of("verify"):
        parts = [index.match(unit, 0.5) for unit in range(len(rows))]
        edges = Edges(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    with stages.of("cluster"):
        of, _ = clusters(sum(rows), edges, THRESHOLD)
    writer = ShardWriter(store, plan.schema.append(pa.field("sample_id", pa.binary(16))))
    first = kept = 0
    for unit in plan.units:
        batches = read(unit, columns=None, schema=plan.schema)
        while True:
            with stages.of("read"):
                batch = next(batches, None)
            if batch is None:
                break
            with stages.of("filter, write"):
                here = batch[1].filter(pa.array(of[first : first + batch[1].num_rows] < 0))
                first, kept = first + batch[1].num_rows, kept + here.num_rows
                ids = pa.array([number.to_bytes(16, "big") for number in range(here.num_rows)], pa.binary(16))
                writer.write(here.append_column("sample_id", ids))
    with stages.of("filter, write"):
        writer.close()
    return stages, kept, edges


def _rows(unit: WorkUnit, schema: pa.Schema) -> int:
    return sum(batch.num_rows for _, batch in read(unit, columns=["id"], schema=schema))


def slow_shingles(text: str) -> set[tuple[str, ...]]:
    """By the definition of a word in `curator.duplicates.words`, a character at a time."""
    spaced = []
    for char in text:
        belongs = char.isalnum() or unicodedata.category(char)[0] in "LMN"
        alone = belongs and not char.isascii() and char_classes()[ord(char)] & SOLO
        folded = char.lower() if char.isascii() else char
        spaced.append(f" {char} " if alone else folded if belongs else " ")
    words = "".join(spaced).split(" ")
    words = [word for word in words if word]
    return {tuple(words[at : at + 5]) for at in range(max(len(words) - 4, 1))}


def precision(files: list[Path], edges: Edges) -> None:
    """The corpus's own edges, up to 2,000 of them, by brute force."""
    texts = pa.concat_tables([pq.read_table(file, columns=["text"]) for file in files])["text"]
    close = np.flatnonzero((edges.similarity >= THRESHOLD) & (edges.similarity < 1))
    chosen = np.random.default_rng(0).permutation(close)[:2_000]
    true = []
    for a, b in zip(edges.a[chosen].tolist(), edges.b[chosen].tolist(), strict=True):
        x, y = slow_shingles(texts[a].as_py()), slow_shingles(texts[b].as_py())
        true.append(len(x & y) / len(x | y))
    limits = [THRESHOLD - slack for slack in (0.0, 0.05, 0.1)]
    shares = ", ".join(f"{(np.array(true) >= limit).mean():.4f} >= {limit:.2f}" for limit in limits)
    print(f"of {len(chosen):,} near edges of the corpus truly: {shares}")


def similarity_of(ones: pa.LargeBinaryArray, twos: pa.LargeBinaryArray) -> np.ndarray:
    """float[n]: of the sets of shingles, as the index counts it."""
    x, y = row_bytes(ones), row_bytes(twos)
    pairs = zip(pairwise(x.offsets.tolist()), pairwise(y.offsets.tolist()), strict=True)
    counts = [overlap(x.data, *one, y.data, *two) for one, two in pairs]
    return np.array([both / max(either, 1) for both, either in counts])


def recall(parts: list[str], pairs: int) -> None:
    """Pairs of known Jaccard similarity, by brute force: which share a band, and which edges are right."""
    rng = np.random.default_rng(5)
    ones, twos, truth = [], [], []
    for _ in range(pairs):
        one = " ".join("".join(c if c.isascii() else " " for c in document(parts, rng)).split()[:WORDS])
        goal = rng.uniform(0.45, 1.0)
        two = spoiled(one, 1 - (2 * goal / (1 + goal)) ** 0.2, rng)
        a, b = slow_shingles(one), slow_shingles(two)
        ones.append(one)
        twos.append(two)
        truth.append(len(a & b) / len(a | b))
    true = np.array(truth)
    signed = [minhash(pa.array(texts), num_perm=112, ngram=5, seed=0) for texts in (ones, twos)]
    met = np.equal(*(band_hashes(one.signatures, BANDS) for one in signed)).any(axis=1)
    told = similarity_of(*(one.sets for one in signed))
    curve = 1 - (1 - true**ROWS_A_BAND) ** BANDS
    print(
        f"\nrecall of {pairs:,} pairs, by true Jaccard similarity\n| bin | pairs | found | banding curve | difference |"
    )
    print("|---|---|---|---|---|")
    for low in np.arange(0.5, 1.0, 0.05):
        here = (true >= low) & (true < low + 0.05 + (low > 0.94))
        found, wanted = met[here].mean(), curve[here].mean()
        print(f"| {low:.2f}–{low + 0.05:.2f} | {here.sum()} | {found:.3f} | {wanted:.3f} | {found - wanted:+.3f} |")
    edges = met & (told >= THRESHOLD)
    for slack in (0.0, 0.025, 0.05):
        right = (true[edges] >= THRESHOLD - slack).mean()
        print(f"edges of >= {THRESHOLD} that are truly >= {THRESHOLD - slack:.3f}: {right:.4f} of {edges.sum():,}")


def cpu(work: Callable[[], Any]) -> tuple[float, Any]:
    begun = time.process_time()
    result = work()
    return time.process_time() - begun, result


def actions(job: Job) -> np.ndarray:
    """uint8[n] of a run's rows."""
    units = range(len(job.plan.units))
    return np.concatenate([job.read_side(unit, "verdicts", ["action"])["action"].to_numpy() for unit in units])


def later(root: Path, files: list[Path], new: list[Path], *, quiet: bool = False) -> None:
    """Whole runs: all at once, and a tenth more that goes on from the rest."""
    recipe = {"task": "text", "columns": {"id": "id", "text": "text"}, "process": ["near_duplicates"]}
    whole_s, whole = cpu(lambda: curate_here([*map(str, files), *map(str, new)], parse(recipe), None, f"{root}/whole"))
    _, first = cpu(lambda: curate_here([str(file) for file in files], parse(recipe), None, f"{root}/parts"))
    recipe["process"] = [{"near_duplicates": {"against": first.run}}]
    more_s, more = cpu(lambda: curate_here([str(file) for file in new], parse(recipe), None, f"{root}/parts"))
    if quiet:  # kernels are compiled
        return
    told = [actions(Job(f"{root}/{place}", run.run)) for place, run in (("whole", whole), ("parts", more))]
    same = np.array_equal(told[0][-more.rows_in :], told[1])
    print(
        f"\nwinnow curate: {whole.rows_in:,} documents in {whole_s:.1f} CPU-s, {whole.rows_in / whole_s:,.0f} a CPU-s ("
        f"difficulty, ledger and shards included): {whole.seconds_by_phase}\n"
        f"{more.rows_in:,} more in {more_s:.1f} CPU-s, {100 * more_s / whole_s:.1f}% of the whole; verdicts as in "
        f"the whole: {same}; {more.seconds_by_phase}"
    )


def peer(python: str, files: list[Path], scratch: Path, count: int) -> None:
    folder = scratch / "peer"
    folder.mkdir()
    table = pa.concat_tables([pq.read_table(file) for file in files]).slice(0, count)
    pq.write_table(
        table.set_column(0, "id", table["id"].cast(pa.string())), folder / "part.parquet", compression="zstd"
    )
    (scratch / "datatrove_minhash.py").write_text(DATATROVE)
    done = subprocess.run(
        [python, str(scratch / "datatrove_minhash.py"), str(folder), str(scratch / "datatrove")],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        print("datatrove did not run:", done.stderr[-300:])
        return
    seconds, kept = done.stdout.split("CPU")[1].split()
    stages, mine, _ = dedup(scratch / "beside", [folder / "part.parquet"])
    ours = sum(stages.values())
    print(
        f"\n{table.num_rows:,} documents: datatrove {float(seconds):.1f} CPU-s, {table.num_rows / float(seconds):,.0f} "
        f"a CPU-s, kept {kept}; ours {ours:.2f} CPU-s, {table.num_rows / ours:,.0f} a CPU-s, "
        f"kept {mine}"
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--texts", type=Path)
    options.add_argument("--docs", type=int, default=20_000)
    options.add_argument("--pairs", type=int, default=4_000)
    options.add_argument("--peer", help="a Python that has datatrove")
    options.add_argument("--peer-docs", type=int, default=1_000)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        parts = paragraphs(chosen.texts, scratch)
        for name in ("warm", "rows"):
            (scratch / name).mkdir()
        warm = list(corpus(scratch / "warm", parts, 200, 1))
        dedup(scratch / "compiled", warm)
        later(scratch / "compiled too", warm[:-1], warm[-1:], quiet=True)
        files = list(corpus(scratch / "rows", parts, chosen.docs, 2))
        size = sum(pq.read_table(file)["text"].nbytes for file in files)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        stages, kept, edges = dedup(scratch / "alone", files)
        total = sum(stages.values())
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(f"{chosen.docs:,} documents, {size / 1e6:.0f} MB, kept {kept:,}, {len(edges.a):,} pairs")
        print("| stage | µs a document |\n|---|---|")
        for name, seconds in [*stages.items(), ("all", total)]:
            print(f"| {name} | {1e6 * seconds / chosen.docs:.1f} |")
        print(
            f"{chosen.docs / total:,.0f} documents a CPU-s, {size / 1e6 / total:.0f} MB a CPU-s; RSS grew {grown} KiB"
        )
        precision(files, edges)
        recall(parts, chosen.pairs)
        later(scratch / "roots", files[:-1], files[-1:])
        if datatrove := chosen.peer or _peer_env.peer_python("datatrove", _peer_env.DATATROVE):
            peer(datatrove, files, scratch, chosen.peer_docs)


if __name__ == "__main__":
    sys.exit(main())
