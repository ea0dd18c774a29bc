"""Spans: nothing where nobody asked for them, one tree where somebody did, and none of a user's words in it."""

from __future__ import annotations

import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from curator import tracing
from curator.errors import RequestError
from curator.settings import Settings
from curator.tracing import span, traceparent
from tests.collector import Collector

OFF = Settings()


def on(collector: Collector) -> Settings:
    return Settings(otlp_endpoint=collector.url)


def test_off_it_is_one_context_that_does_nothing() -> None:
    with tracing.tracing(OFF, "test"):
        assert span("a") is span("b", {"x": 1}, kind="server", parent="00-1-1-01")
        assert isinstance(span("a"), nullcontext)
        with span("a") as told, span("b"):
            told.tell({"x": 1}, name="c", failed=True)
            assert traceparent() is None


@pytest.mark.parametrize("module", ["api.app", "pipelines.runner"])
def test_off_nothing_is_loaded(module: str, tmp_path: Path) -> None:
    """FastAPI loads OpenTelemetry's interfaces by itself; what makes and sends spans is loaded by nobody."""
    code = (
        f"import {module}\nfrom curator.settings import Settings\nfrom curator.tracing import span, tracing\n"
        f"with tracing(Settings(root={str(tmp_path)!r}), 'x'), span('a') as told: told.tell({{'b': 1}})\n"
        "import sys; assert not {'opentelemetry.sdk', 'opentelemetry.exporter'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_spans_of_one_process_make_a_tree() -> None:
    with Collector() as collector:
        with tracing.tracing(on(collector), "winnow-test"):
            with span("outer", {"winnow.run": "run_1", "none": None}, kind="server") as told:
                parent = traceparent()
                with span("inner"):
                    pass
                told.tell({"http.response.status_code": 503}, name="GET /x", failed=True)
            with span("elsewhere", kind="consumer", parent=parent):
                pass
            with span("alone"):
                pass
        found = collector.spans()
    outer, inner, elsewhere, alone = (found[name] for name in ("GET /x", "inner", "elsewhere", "alone"))
    assert inner.parent == outer.id and elsewhere.parent == outer.id and outer.parent == alone.parent == ""
    assert {inner.trace, elsewhere.trace} == {outer.trace} != {alone.trace}
    assert outer.attributes == {"winnow.run": "run_1", "http.response.status_code": 503}
    assert outer.failed and not inner.failed
    assert {made.service for made in found.values()} == {"winnow-test"}


def test_of_an_error_its_kind_is_told_and_never_its_words() -> None:
    with Collector() as collector:
        with tracing.tracing(on(collector), "t"), pytest.raises(ValueError, match="hush"), span("broken"):
            raise ValueError("hush: a user's text")
        [broken] = collector.spans().values()
        assert broken.failed and broken.attributes == {"error.type": "ValueError"}
        assert b"hush" not in b"".join(collector.bodies)


@pytest.mark.parametrize("parent", ["", "nonsense", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "x" * 10_000])
def test_a_trace_nobody_is_in_is_none(parent: str) -> None:
    with Collector() as collector:
        with tracing.tracing(on(collector), "t"), span("a", parent=parent):
            pass
        assert collector.spans()["a"].parent == ""


def test_a_collector_that_is_not_there_holds_nobody_up() -> None:
    with tracing.tracing(Settings(otlp_endpoint="http://127.0.0.1:9"), "t"), span("a"):
        pass


def test_without_the_extra_it_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with (
        pytest.raises(RequestError, match=r"OTEL_EXPORTER_OTLP_ENDPOINT.*winnow-curation\[otel\]"),
        tracing.tracing(Settings(otlp_endpoint="http://127.0.0.1:9"), "t"),
    ):
        raise AssertionError("it began")


def test_an_endpoint_is_an_address() -> None:
    with pytest.raises(RequestError, match="OTEL_EXPORTER_OTLP_ENDPOINT"):
        Settings.from_environment({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317"})
