"""Traces: requests, runs and deliveries as spans, sent to an OpenTelemetry collector where one is named.

Off unless `OTEL_EXPORTER_OTLP_ENDPOINT` is set: then nothing is imported and a span is a context that does nothing.
Attributes are ids, counts, route templates and kinds of error; never a name, a text, an address's path or an error's
words, which may quote any of them. Knows OpenTelemetry; nothing of what is traced.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final, Literal, Protocol

from curator.errors import RequestError
from curator.settings import Settings
from curator.version import software_version

__all__ = ["Attributes", "Span", "span", "traceparent", "tracing"]

Kind = Literal["internal", "server", "client", "consumer"]
Attributes = Mapping[str, str | int | float | bool | None]
_NONE: Final[Attributes] = {}
FLUSH_MS: Final = 3000
"""How long a process that ends may wait for the collector."""


class Span(Protocol):
    """What can still be said of a span while it lasts."""

    def tell(self, attributes: Attributes = _NONE, *, name: str | None = None, failed: bool = False) -> None:
        """More attributes (null ones are left out), another name, or that it failed."""
        ...


class _Nothing:
    def tell(self, attributes: Attributes = _NONE, *, name: str | None = None, failed: bool = False) -> None:
        pass


_OFF: Final[AbstractContextManager[Span]] = nullcontext(_Nothing())
_tracer: Any = None


@contextmanager
def tracing(settings: Settings, service: str) -> Iterator[None]:
    """Inside, this process's spans are sent under the service's name (`OTEL_SERVICE_NAME` goes before it); what is
    left is sent on the way out. Raises RequestError when that is asked for and the extra `otel` is not installed."""
    global _tracer
    if not settings.otlp_endpoint:
        yield
        return
    provider = _provider(settings.otlp_endpoint, service)
    before, _tracer = _tracer, provider.get_tracer("winnow", software_version())
    try:
        yield
    finally:
        _tracer = before
        provider.force_flush(FLUSH_MS)
        provider.shutdown()


def span(
    name: str, attributes: Attributes = _NONE, *, kind: Kind = "internal", parent: str | None = None
) -> AbstractContextManager[Span]:
    """A part of what is going on, while the context is open. `parent`: the traceparent (W3C) of who asked for it, else
    the span it is opened in."""
    return _OFF if _tracer is None else _begun(name, kind, parent, attributes)


def traceparent() -> str | None:
    """How the present span is named to another process; None where nothing is traced."""
    if _tracer is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent")


@contextmanager
def _begun(name: str, kind: Kind, parent: str | None, attributes: Attributes) -> Iterator[Span]:
    from opentelemetry.trace import SpanKind
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    context = TraceContextTextMapPropagator().extract({"traceparent": parent}) if parent else None
    quiet = {"record_exception": False, "set_status_on_exception": False}
    with _tracer.start_as_current_span(name, context=context, kind=SpanKind[kind.upper()], **quiet) as made:
        told = _Told(made)
        told.tell(attributes)
        try:
            yield told
        except BaseException as error:
            told.tell({"error.type": type(error).__name__}, failed=True)
            raise


class _Told:
    def __init__(self, made: Any):
        self._made = made

    def tell(self, attributes: Attributes = _NONE, *, name: str | None = None, failed: bool = False) -> None:
        from opentelemetry.trace import StatusCode

        if name is not None:
            self._made.update_name(name)
        if failed:
            self._made.set_status(StatusCode.ERROR)
        for key, value in attributes.items():
            if value is not None:
                self._made.set_attribute(key, value)


def _provider(endpoint: str, service: str) -> Any:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as error:
        raise RequestError(
            "OTEL_EXPORTER_OTLP_ENDPOINT asks for traces, which this installation cannot send; "
            f"pip install 'winnow-curation[otel]', or unset it ({error.name} is missing)"
        ) from error
    own = Resource(
        {"service.name": os.environ.get("OTEL_SERVICE_NAME", service), "service.version": software_version()}
    )
    provider = TracerProvider(resource=Resource.create().merge(own))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint.rstrip("/") + "/v1/traces")))
    return provider
