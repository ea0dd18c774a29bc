"""Gross faults put into real text, through one `winnow curate` call: what is caught, by kind, and what good is lost.

    python tests/benchmarks/judge_gross.py --seeds 2

5,000 news texts, and 10% more rows with faults of eight kinds in equal parts, by a seed: white space alone, letters at
random, mojibake (UTF-8 read as Latin-1, twice), another language (web documents in eleven), the
boilerplate of websites, exact copies, copies with a word more at their end, spammed keywords. 400 rows of known quality
are trusted, drawn uniformly. cleanlab has no score for texts without labels; the rules alone stand beside the policy.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curator.ledger import Ledger
from curator.storage import Store

DATA = Path(os.environ.get("WINNOW_DATA", Path(__file__).parents[3] / "shared" / "data"))
NUM_TEXTS, NUM_TRUSTED, FAULT_SHARE = 5_000, 400, 0.1
RULES = "[{preset: text}, {language: {keep: [en]}}]"
RECIPES = {
    "rules": f"task: text\ncolumns: {{id: id, text: text}}\nprocess: {RULES}\npolicy: {{kind: rules}}\n",
    "rules and policy": f"task: text\ncolumns: {{id: id, text: text}}\nencoder: {{text: builtin}}\nprocess: {RULES}\n"
    "policy: {kind: learned, max_false_drop: 0.01, rounds: 0}\n",
}
COPIES, POLICY = ("exact_duplicate", "near_duplicate"), ("low_quality",)
SITES = (
    "Accept all cookies. Manage preferences. Privacy policy | Terms of use | Sitemap. All rights reserved {0}.",
    "Home About Contact Login Register Cart ({0}) Search Menu Skip to content Copyright {0} All rights reserved",
    "Subscribe to our newsletter! Share on Facebook Tweet Pin it Print Email. Read more ... {0} comments Leave a reply",
    "JavaScript is disabled in your browser. Please enable JavaScript to view this page. Error {0}. Back to top",
)
SPAM = ("cheap watches", "free casino bonus", "buy pills online", "best loans", "seo services", "discount shoes")
Maker = Callable[[np.random.Generator, list[str], list[str]], str]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--first-seed", type=int, default=0)
    options = parser.parse_args()
    if not DATA.exists():
        print(f"no data at {DATA}; set WINNOW_DATA")
        return 0
    for name, recipe in RECIPES.items():
        runs = [_run(recipe, seed) for seed in range(options.first_seed, options.first_seed + options.seeds)]
        print(f"\n{name}, {options.seeds} draws")
        for what in runs[0]:
            values = np.array([run[what] for run in runs])
            print(f"  {what:28} {values.mean():8.4f}   lowest {values.min():.4f}, highest {values.max():.4f}")
    return 0


def _run(recipe: str, seed: int) -> dict[str, float]:
    table = _faulty(seed)
    kinds = np.array(table["kind"].to_pylist())
    rng = np.random.default_rng((seed, 8))
    trusted = np.sort(rng.permutation(table.num_rows)[:NUM_TRUSTED])
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        pq.write_table(table.select(["id", "text"]), folder / "texts.parquet")
        keep = pa.table({"id": table["id"].take(pa.array(trusted)), "keep": pa.array(kinds[trusted] == "")})
        pq.write_table(keep, folder / "trusted.parquet")
        (folder / "recipe.yaml").write_text(recipe)
        words = ["curate", folder / "texts.parquet", "--recipe", folder / "recipe.yaml", "--trusted"]
        words += [folder / "trusted.parquet", "--out", folder / "root", "--json"]
        command = [sys.executable, "-m", "api.cli", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        run = str(json.loads(done.stdout)["run"])
        ledger = pa.Table.from_batches(Ledger(Store.open(folder / "root"), run).scan())
    dropped = np.array([action == "drop" for action in ledger["action"].to_pylist()])
    at = pc.index_in(ledger["id"], value_set=table["id"].combine_chunks()).to_numpy()
    kinds, fresh = kinds[at], ~np.isin(at, trusted)
    out = {kind: float(dropped[fresh & (kinds == kind)].mean()) for kind in MAKERS}
    good, copies = fresh & (kinds == ""), np.isin(ledger["reason"].to_pylist(), COPIES)
    return out | {
        "all faults caught": float(dropped[fresh & (kinds != "")].mean()),
        "good texts lost": float(dropped[good].mean()),
        "copies of others among them": float((dropped & copies)[good].mean()),
        "to the policy": float((dropped & np.isin(ledger["reason"].to_pylist(), POLICY))[good].mean()),
    }


def _faulty(seed: int) -> pa.Table:
    """id, text, kind ("" = a good text); faults after good texts, so that of two copies the first is the good one."""
    rng = np.random.default_rng(seed)
    news = pq.read_table(DATA / "noisyag_news.parquet")["text"].to_pylist()
    foreign = pq.read_table(DATA / "hplt_web_docs_human.parquet")
    foreign = [
        text[:400]
        for text in foreign.filter(pc.not_equal(foreign["lang"], "eng_Latn"))["text"].to_pylist()
        if len(text) > 200
    ]
    good = [news[i] for i in np.sort(rng.permutation(len(news))[:NUM_TEXTS])]
    per_kind = round(FAULT_SHARE * NUM_TEXTS / len(MAKERS))
    faults = [(make(rng, good, foreign), kind) for kind, make in MAKERS.items() for _ in range(per_kind)]
    rows = [(text, "") for text in good] + faults
    texts, kinds = zip(*rows, strict=True)
    return pa.table({"id": [f"row-{i}" for i in range(len(rows))], "text": texts, "kind": kinds})


def _gibberish(rng: np.random.Generator, good: list[str], foreign: list[str]) -> str:
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    return " ".join("".join(rng.choice(letters, rng.integers(3, 10))) for _ in range(rng.integers(15, 50)))


def _mojibake(rng: np.random.Generator, good: list[str], foreign: list[str]) -> str:
    text = _any(rng, good).translate(str.maketrans("aeou'", "áéöü’"))
    for _ in range(2):
        text = text.encode("utf-8").decode("latin-1")
    return text


def _near_copy(rng: np.random.Generator, good: list[str], foreign: list[str]) -> str:
    return f"{_any(rng, good)} {rng.choice(['(update)', 'Read more', '[AP]'])}"


def _spam(rng: np.random.Generator, good: list[str], foreign: list[str]) -> str:
    return " ".join(rng.choice(SPAM, rng.integers(15, 40)))


def _any(rng: np.random.Generator, texts: list[str]) -> str:
    return texts[int(rng.integers(len(texts)))]


MAKERS: dict[str, Maker] = {
    "empty": lambda rng, good, foreign: " " * int(rng.integers(0, 20)),
    "gibberish": _gibberish,
    "mojibake": _mojibake,
    "wrong language": lambda rng, good, foreign: _any(rng, foreign),
    "boilerplate": lambda rng, good, foreign: " ".join(
        _any(rng, list(SITES)).format(rng.integers(3_000)) for _ in range(3)
    ),
    "exact copy": lambda rng, good, foreign: _any(rng, good),
    "near copy": _near_copy,
    "keyword spam": _spam,
}


if __name__ == "__main__":
    sys.exit(main())
