"""Faults on demand: what a client meets when AWS is busy, broken, forbids, or the line drops.

`PUT /_local_cloud/faults` takes a JSON list that replaces all faults, `GET` returns them with how
often each was hit, `DELETE` ends them:

    {"action": "elasticloadbalancing:Create*",  the IAM action, with wildcards
     "kind": "throttling" | "unavailable" | "denied" | "cut" | "latency",
     "count": 2,                                how many requests; without it all of them
     "seconds": 1.5}                            of latency; other kinds come after it, too

A `cut` request is carried out; only its answer never arrives.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

from hypercorn.asyncio.tcp_server import TCPServer
from ministack import app
from ministack.core import iam_actions
from ministack.core.responses import fix_error_content_type
from ministack.core.router import detect_service

from ..settings import Cloud

PATH = "/_local_cloud/faults"
KINDS = ("throttling", "unavailable", "denied", "cut", "latency")
# Code and status that a client of the service knows as throttling.
THROTTLING = {
    "ec2": ("RequestLimitExceeded", 503),
    "s3": ("SlowDown", 503),
    "lambda": ("TooManyRequestsException", 429),
}

Response = tuple[int, dict[str, str], Any]
Asgi = Callable[..., Awaitable[None]]

_faults: list[Fault] = []
_connection: ContextVar[TCPServer] = ContextVar("connection")


@dataclass
class Fault:
    """One fault, and how often it was hit."""

    action: str
    kind: Literal["throttling", "unavailable", "denied", "cut", "latency"]
    count: int | None = None
    seconds: float = 0
    hits: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind {self.kind!r} is none of {', '.join(KINDS)}")

    def meets(self, action: str) -> bool:
        left = self.count is None or self.hits < self.count
        return left and fnmatchcase(action, self.action)


def apply(cloud: Cloud) -> None:
    app._dispatch_service_request = _with_faults(app._dispatch_service_request)
    app.app = _with_endpoint(app.app)
    TCPServer.run = _remembering_connection(TCPServer.run)


def _with_faults(dispatch: Callable[..., Awaitable[Response]]) -> Callable[..., Any]:
    async def handle(
        method: str, path: str, headers: dict, body: bytes, query: dict, request_id: str
    ) -> Response:
        parameters = app._routing_params(method, path, headers, body, query)
        service = detect_service(method, path, headers, parameters)
        action = iam_actions.extract_iam_action(service, method, path, headers, body, parameters)
        fault = next((fault for fault in _faults if fault.meets(action or "")), None)
        if fault:
            fault.hits += 1
            await asyncio.sleep(fault.seconds)
            if fault.kind not in ("cut", "latency"):
                return _error(fault.kind, service, action, request_id, headers)
        response = await dispatch(method, path, headers, body, query, request_id)
        if fault and fault.kind == "cut":
            _connection.get().writer.transport.abort()
        return response

    return handle


def _error(kind: str, service: str, action: str, request_id: str, headers: dict) -> Response:
    """The error in the words and the protocol of the service."""
    protocol = iam_actions._SERVICE_PROTOCOL.get(service, "json")
    busy = ("Throttling" if protocol == "query-xml" else "ThrottlingException", 400)
    code, status = {
        "throttling": THROTTLING.get(service, busy),
        "unavailable": ("InternalFailure", 500),
        "denied": ("", 0),  # both are the service's own
    }[kind]
    principal = "arn:aws:iam::000000000000:root"
    text = f"{kind} by a fault of the local cloud" if code else ""
    denied, answered, body = iam_actions.access_denied_response(
        service, action, principal, request_id, error_code=code, message=text, headers=headers
    )
    status = status or denied
    fix_error_content_type(service, status, answered)
    return status, answered | {"x-amzn-requestid": request_id}, body


def _with_endpoint(served: Asgi) -> Asgi:
    async def serve(scope: dict, receive: Callable, send: Callable) -> None:
        if scope["type"] != "http" or scope["path"] != PATH:
            return await served(scope, receive, send)
        body = await app._read_request_body(receive, scope["method"], {})
        status, answer = _change(scope["method"], body)
        headers = {"content-type": "application/json"}
        return await app._send_response(send, status, headers, json.dumps(answer).encode())

    return serve


def _change(method: str, body: bytes) -> tuple[int, Any]:
    if method == "PUT":
        try:
            _faults[:] = [Fault(**fault) for fault in json.loads(body)]
        except (ValueError, TypeError) as error:
            return 400, {"error": str(error)}
    elif method == "DELETE":
        _faults.clear()
    return 200, [asdict(fault) for fault in _faults]


def _remembering_connection(run: Callable[..., Awaitable[None]]) -> Callable[..., Any]:
    async def run_remembered(self: TCPServer) -> None:
        _connection.set(self)
        await run(self)

    return run_remembered
