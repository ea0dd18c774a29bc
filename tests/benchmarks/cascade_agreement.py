"""Rule by rule, which rows Winnow's FineWeb cascade drops and which datatrove's own filters drop.

    python tests/benchmarks/cascade_agreement.py [--data DIR] [--peer PYTHON]

DIR holds hplt_web_docs_human.parquet, web_lines_human.parquet and tech_docs.parquet; PYTHON is an interpreter with
`datatrove[io,processing] spacy`; an environment is made when it is not given. Of the web documents the English ones are
read, of the web lines the English documents, joined again. Each rule of datatrove runs alone (every other threshold
off); its FineWeb rules see the text that its C4 filter leaves, as in FineWeb. Rows of the table: drops by datatrove,
drops by Winnow, precision, recall, F1; then the rows kept by the whole cascade.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curator.signals import score_text
from curator.signals.c4 import C4Quality
from curator.signals.fineweb import FinewebQuality
from curator.signals.gopher import GopherQuality, GopherRepetition
from curator.signals.types import Bound

sys.path.insert(0, str(Path(__file__).parent))
from _peer_env import DATATROVE, peer_python

DATA = Path(os.environ.get("WINNOW_DATA", Path(__file__).parents[3] / "shared" / "data"))

PEER = Path(__file__).with_name("_datatrove_rules.py")


def texts_of(data: Path) -> dict[str, list[str]]:
    web = pq.read_table(data / "hplt_web_docs_human.parquet", columns=["lang", "text"]).to_pylist()
    lines = pq.read_table(data / "web_lines_human.parquet", columns=["doc", "line", "lang", "text"]).to_pylist()
    documents: dict[str, list[tuple[int, str]]] = {}
    for row in lines:
        if row["lang"] == "en":
            documents.setdefault(row["doc"], []).append((row["line"], row["text"]))
    return {
        "web documents": [row["text"] for row in web if row["lang"].startswith(("en", "eng"))],
        "web lines": ["\n".join(text for _, text in sorted(rows)) for rows in documents.values()],
        "technical documents": pq.read_table(data / "tech_docs.parquet", columns=["text"])["text"].to_pylist(),
    }


def bounds() -> Iterator[tuple[str, Bound]]:
    """Winnow's bounds under the names of `_datatrove_rules.py`."""
    for rule in (GopherRepetition(), GopherQuality(), C4Quality(require_terminal_punctuation=False), FinewebQuality()):
        for bound in rule.bounds():
            yield f"{bound.reason} {bound.side}", bound


def ours(texts: list[str]) -> dict[str, np.ndarray]:
    wanted = dict(bounds())
    columns = score_text(pa.array(texts, pa.large_string()), {bound.signal for bound in wanted.values()})
    return {name: bound.fired(columns) for name, bound in wanted.items()}


def theirs(peer: str, texts: list[str]) -> dict[str, np.ndarray]:
    with tempfile.TemporaryDirectory() as folder:
        source, sink = Path(folder, "texts.json"), Path(folder, "drops.json")
        source.write_text(json.dumps(texts))
        subprocess.run([peer, str(PEER), str(source), str(sink)], check=True)
        return {name: np.array(mask, bool) for name, mask in json.loads(sink.read_text()).items()}


def f1(reference: np.ndarray, found: np.ndarray) -> str:
    both = int((reference & found).sum())
    if not both:
        return f"| {reference.sum()} | {found.sum()} | – | – | – |"
    precision, recall = both / found.sum(), both / reference.sum()
    score = 2 * precision * recall / (precision + recall)
    return f"| {reference.sum()} | {found.sum()} | {precision:.4f} | {recall:.4f} | {score:.4f} |"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data", type=Path, default=DATA, help="a folder")
    options.add_argument("--peer", help="a Python that has datatrove")
    options.add_argument("--show", type=int, default=0, help="rows of disagreement to name, by set and number")
    chosen = options.parse_args()
    peer = chosen.peer or peer_python("datatrove", DATATROVE)
    if peer is None or not chosen.data.is_dir():
        print(f"nothing to compare: no datatrove, or no data at {chosen.data} (set WINNOW_DATA)")
        return
    sets = texts_of(chosen.data)
    every = [text for texts in sets.values() for text in texts]
    places = [(name, row) for name, texts in sets.items() for row in range(len(texts))]
    reference, found = theirs(peer, every), ours(every)
    print({name: len(texts) for name, texts in sets.items()})
    print("| rule | datatrove drops | Winnow drops | precision | recall | F1 |\n|---|---|---|---|---|---|")
    for name, mask in found.items():
        print(f"| {name} {f1(reference[name], mask)}")
        for row in np.flatnonzero(reference[name] != mask)[: chosen.show]:
            print("   ", places[row], bool(reference[name][row]), repr(every[row][:80]))
    kept_there, kept_here = (~np.logical_or.reduce([masks[name] for name in found]) for masks in (reference, found))
    print(f"| rows kept {f1(kept_there, kept_here)}")


if __name__ == "__main__":
    main()
