"""A collector of traces on loopback: takes what OTLP/HTTP sends and tells the spans in it."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

__all__ = ["Collector", "Seen"]


class Seen(NamedTuple):
    name: str
    trace: str
    id: str
    parent: str
    kind: int
    service: str
    failed: bool
    attributes: dict[str, Any]


class Collector(ThreadingHTTPServer):
    """Listens while its context is open."""

    daemon_threads = True

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> Collector:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self.server_close()

    def all(self) -> list[Seen]:
        """Every span, in the order they came."""
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        found = []
        for body in self.bodies:
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                about = {item.key: item.value.string_value for item in resource.resource.attributes}
                for scope in resource.scope_spans:
                    found += [_seen(span, about["service.name"]) for span in scope.spans]
        return found

    def spans(self) -> dict[str, Seen]:
        """By name; the last of one name."""
        return {span.name: span for span in self.all()}


def _seen(span: Any, service: str) -> Seen:
    values = {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in span.attributes}
    ids = (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex())
    return Seen(span.name, *ids, span.kind, service, span.status.code == 2, values)


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        assert self.path == "/v1/traces"
        self.server.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass
