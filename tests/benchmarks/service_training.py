"""From a file to a trained model in one command: served, submitted, curated on Ray, trained by the service's runner.

    python tests/benchmarks/service_training.py                      on a GPU: 85M parameters, packed, compiled
    python tests/benchmarks/service_training.py --small --engine inline      on a CPU: does it run

`winnow serve` is a child process; everything goes over its REST interface on loopback: the technical documents are
uploaded and curated (`--engine`), a managed training job is queued on the manifest, and the service's runner trains it.
Says what each part took, and for what share of the training the device had no step to do.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch

from curator.client.rest import Client
from curator.settings import Settings
from tests.benchmarks._siege import Siege
from tests.benchmarks.kill_soak import free_port

DATA = (
    Path(Settings.from_environment().data or Path(__file__).parents[3] / "shared" / "data").absolute()
    / "tech_docs.parquet"
)
CURATE = {"task": "text", "columns": {"text": "text"}, "process": ["gopher_repetition", "near_duplicates"]}
LARGE = {"preset": "language-model-85m", "compile": True, "feed_forward": "gelu", "global_batch_size": 16}
SMALL = {"preset": "small-language-model", "cpu_threads": 1}
_ENDED = ("succeeded", "failed", "cancelled")


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--engine", choices=("ray", "inline"), default="ray")
    options.add_argument("--epochs", type=int, default=3)
    options.add_argument("--small", action="store_true", help="a model for a CPU")
    chosen = options.parse_args()
    if not DATA.exists() or not (chosen.small or torch.cuda.is_available()):
        print(f"needs {DATA}, and a CUDA device or --small: nothing to measure here")
        return 0
    with tempfile.TemporaryDirectory(prefix="winnow-service-") as folder:
        siege = Siege(Path(folder), free_port(), RAY_USAGE_STATS_ENABLED="0")
        try:
            siege.keep_served()
            with Client(siege.url) as client:
                return told(client, chosen, siege.restarts_s[0])
        except BaseException:
            print((Path(folder) / "service.log").read_text()[-6000:], file=sys.stderr)
            raise
        finally:
            siege.close()


def told(client: Client, chosen: argparse.Namespace, started_s: float) -> int:
    """0 when the job succeeded."""
    began = time.monotonic()
    run = client.curate(DATA, recipe=CURATE, engine=chosen.engine)
    curated_s = time.monotonic() - began
    recipe = {**(SMALL if chosen.small else LARGE), "epochs": chosen.epochs}
    job = _ended(client, client.jobs.create(manifest=run.manifest, entry="language-model", recipe=recipe)["id"])
    whole_s, result = time.monotonic() - began, job["result"]
    if job["state"] != "succeeded":
        print(f"the training job is {job['state']}: {job['error']}")
        return 1
    device = "the CPU" if chosen.small else torch.cuda.get_device_name()
    print(
        f"{device}, torch {torch.__version__}: ready after {started_s:.1f} s; {run.summary.rows_in:,} documents in, "
        f"{run.summary.kept:,} kept, {curated_s:.1f} s from upload to manifest on {chosen.engine}; "
        f"{whole_s:.1f} s from file to model"
    )
    pace = result["pace"]
    print(
        f"{result['num_parameters'] / 1e6:.1f}M parameters, {result['steps']} steps in {whole_s - curated_s:.1f} s, "
        f"start and compiling included; step {pace['step_s'] * 1e3:.2f} ms, {pace['tokens_per_s']:,.0f} tokens/s, "
        f"{pace['mfu']:.1%} of the matmul rate, loss by epoch {', '.join(f'{loss:.4f}' for loss in result['losses'])}"
    )
    print(
        f"the device waited {pace['waited']:.3%} of the time; {result['feedback']} of feedback in the catalog; "
        f"attention by {result['attention']}"
    )
    return 0


def _ended(client: Client, job: str) -> dict[str, Any]:
    while (found := client.jobs.get(job))["state"] not in _ENDED:
        time.sleep(0.5)
    return found


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
