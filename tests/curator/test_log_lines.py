"""Log lines: text or JSON, with what they are about, and without an error's own words."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from typing import Any

import pytest

PROGRAM = """
import logging, threading
from curator.log_lines import configure_logs, telling
configure_logs({form!r})
log = logging.getLogger("winnow.test")
log.info("before")
with telling(run="run_1"):
    with telling(request_id="req_1"):
        log.warning("inside %s", "both", extra={{"fields": {{"status": 200}}}})
    try:
        raise ValueError("the user's text and wnw_secret")
    except ValueError:
        log.exception("it broke")
"""


def lines(form: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", PROGRAM.format(form=form)], capture_output=True, text=True, check=True)
    return done.stderr.splitlines()


def test_one_object_a_line() -> None:
    told: list[dict[str, Any]] = [json.loads(line) for line in lines("json")]
    assert [line["message"] for line in told] == ["before", "inside both", "it broke"]
    assert told[1]["run"] == "run_1" and told[1]["request_id"] == "req_1" and told[1]["status"] == 200
    assert "run" not in told[0] and "request_id" not in told[2]
    assert told[1]["level"] == "warning" and told[1]["at"].endswith("Z")
    assert told[2]["error"].startswith("ValueError at")


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_errors_words_stay_out(form: str) -> None:
    told = "\n".join(lines(form))
    assert "wnw_secret" not in told and "user's text" not in told
    assert "ValueError at" in told and "line 11" in told


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_presigned_urls_signature_stays_out(form: str) -> None:
    program = f"""
import httpx
from curator.log_lines import configure_logs
configure_logs({form!r})
with httpx.Client(transport=httpx.MockTransport(lambda request: httpx.Response(200))) as client:
    client.get("https://bucket.example/shard?X-Amz-Signature=f00d")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "f00d" not in done.stderr


def test_the_level_holds() -> None:
    assert logging.getLogger("winnow.test").getEffectiveLevel() <= logging.WARNING
