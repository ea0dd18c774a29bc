"""`python -m pipelines.demo [--oneshot]`: the service, two real datasets, training, and a report card.

Without --oneshot the service and its dashboard stay up until Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx

from curator.client.rest import Client
from pipelines.demo.card import report_card
from pipelines.demo.story import tell

ROOT = Path("winnow-data")
SEED = 17


def main() -> int:
    """Exit code 0 when the whole story was told."""
    options = argparse.ArgumentParser(prog="make demo", description=__doc__)
    options.add_argument("--oneshot", action="store_true", help="exit when the report card is printed")
    options.add_argument("--port", type=int, default=8700)
    chosen = options.parse_args()
    service = _start(chosen.port)
    try:
        url = f"http://127.0.0.1:{chosen.port}"
        _wait_ready(url, service)
        client = Client(url)
        print(report_card(tell(client, ROOT, seed=SEED), url), flush=True)
        if not chosen.oneshot:
            print("The service is running; Ctrl-C stops it.", flush=True)
            service.wait()
        return 0
    except KeyboardInterrupt:
        return 0
    finally:
        _stop(service)


def _start(port: int) -> subprocess.Popen[bytes]:
    ROOT.mkdir(exist_ok=True)
    log = (ROOT / "service.log").open("ab")
    command = [sys.executable, "-m", "api.cli", "serve", "--root", str(ROOT), "--port", str(port)]
    return subprocess.Popen(
        command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    )


def _wait_ready(url: str, service: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        if service.poll() is not None:
            raise SystemExit(f"the service stopped with code {service.returncode}; see {ROOT / 'service.log'}")
        try:
            if httpx.get(f"{url}/healthz/ready", timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise SystemExit(f"the service did not answer within a minute; see {ROOT / 'service.log'}")


def _stop(service: subprocess.Popen[bytes]) -> None:
    if service.poll() is None:
        service.send_signal(signal.SIGTERM)
        try:
            service.wait(timeout=60)
        except subprocess.TimeoutExpired:
            service.kill()


if __name__ == "__main__":
    sys.exit(main())
