"""HTTP/1.1 over asyncio streams: one side of a proxied request, and the proxying itself."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import h11

CHUNK = 65536
CONNECT_SECONDS = 10
CONNECTION_ERROR = "TargetConnectionErrorCount"
# Of one connection, not of the message (RFC 9110, 7.6.1).
HOP_BY_HOP = {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade"}

Headers = list[tuple[bytes, bytes]]


class TargetFailed(Exception):
    """The target gave no answer; `status` is what the client gets, `metric` what counts it."""

    def __init__(self, status: int, why: str, metric: str = "") -> None:
        super().__init__(f"{status}: {why}")
        self.status = status
        self.metric = metric


class Wire:
    """An h11 connection on a pair of streams."""

    def __init__(
        self,
        role: type[h11.CLIENT] | type[h11.SERVER],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        idle_seconds: float,
    ) -> None:
        self.h11 = h11.Connection(role)
        self.reader = reader
        self.writer = writer
        self.idle_seconds = idle_seconds
        self.head = False  # the request asks for headers only

    async def receive(self) -> Any:
        """The next event of the peer."""
        while (event := self.h11.next_event()) is h11.NEED_DATA:
            if self.h11.they_are_waiting_for_100_continue:
                await self.send(h11.InformationalResponse(status_code=100, headers=[]))
            async with asyncio.timeout(self.idle_seconds):
                self.h11.receive_data(await self.reader.read(CHUNK))
        if isinstance(event, h11.Request):
            self.head = event.method == b"HEAD"
        return event

    async def send(self, event: Any) -> None:
        data = self.h11.send(event)
        if data:
            self.writer.write(data)
            await self.writer.drain()

    async def body(self, limit: int) -> bytes | None:
        """The peer's whole body, None when it is larger than `limit`."""
        content = b""
        while isinstance(event := await self.receive(), h11.Data):
            content += event.data
            if len(content) > limit:
                return None
        return content

    async def respond(self, status: int, headers: Iterable[tuple[Any, Any]], body: bytes) -> None:
        """Send a whole response, framed by its length."""
        kept = [(k, v) for k, v in headers if str(k).lower() not in ("content-length", "date")]
        await self.send(
            h11.Response(status_code=status, headers=[*kept, ("content-length", str(len(body)))])
        )
        if not self.head:
            await self.send(h11.Data(data=body))
        await self.send(h11.EndOfMessage())

    def close(self) -> None:
        self.writer.close()


async def connect(address: str, port: int, idle_seconds: float) -> Wire:
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            reader, writer = await asyncio.open_connection(address, port)
    except TimeoutError:
        raise TargetFailed(504, "no connection in time", CONNECTION_ERROR) from None
    except OSError as error:
        raise TargetFailed(502, f"no connection: {error}", CONNECTION_ERROR) from None
    return Wire(h11.CLIENT, reader, writer, idle_seconds)


async def proxy(client: Wire, target: Wire, request: h11.Request, headers: Headers) -> int:
    """Pass a request on with `headers`, and the response back as it arrives; its status."""
    # A connection per request: none is idle when its target is stopped after draining.
    headers = [*end_to_end(headers), (b"connection", b"close")]
    try:
        await target.send(
            h11.Request(method=request.method, target=request.target, headers=headers)
        )
        await _pass_on(client, target)
        response = await target.receive()
        while isinstance(response, h11.InformationalResponse):
            response = await target.receive()
    except TimeoutError:
        raise TargetFailed(504, "no answer in time") from None
    except (OSError, h11.RemoteProtocolError) as error:
        if client.h11.their_state is h11.ERROR or client.reader.at_eof():
            raise  # it was the client
        raise TargetFailed(502, f"{type(error).__name__}: {error}") from error
    if not isinstance(response, h11.Response):
        raise TargetFailed(502, "it closed the connection instead of answering")
    await client.send(
        h11.Response(status_code=response.status_code, headers=end_to_end(response.headers))
    )
    await _pass_on(target, client)
    return response.status_code


async def _pass_on(source: Wire, sink: Wire) -> None:
    while isinstance(event := await source.receive(), h11.Data):
        await sink.send(h11.Data(data=event.data))
    await sink.send(h11.EndOfMessage())


def end_to_end(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    return [(name, value) for name, value in headers if name not in HOP_BY_HOP]


async def status_of(address: str, port: int, path: str, agent: str, seconds: float) -> int:
    """The status that a GET is answered with."""
    async with asyncio.timeout(seconds):
        wire = await connect(address, port, seconds)
        try:
            headers = [
                ("host", f"{address}:{port}"),
                ("user-agent", agent),
                ("connection", "close"),
            ]
            await wire.send(h11.Request(method="GET", target=path, headers=headers))
            await wire.send(h11.EndOfMessage())
            response = await wire.receive()
        finally:
            wire.close()
    if not isinstance(response, h11.Response):
        raise TargetFailed(502, "it closed the connection instead of answering")
    return response.status_code
