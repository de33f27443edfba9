"""The data plane: a real listener on loopback for each that the API has.

It runs on an event loop and thread of its own, so that a slow API call never holds up requests.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

import h11
from ministack.core.responses import request_scope
from ministack.services import alb

from . import elb_lambda
from .elb_health import Target, Targets, attribute, scope_of
from .elb_http import Headers, TargetFailed, Wire, connect, end_to_end, proxy
from .elb_metrics import Metrics
from .elb_routing import Weighted, weights_of

ADDRESS = "127.0.0.1"
FOLLOW_SECONDS = 1
HOST_COUNT_SECONDS = 60
STOP_SECONDS = 5
# LambdaInternalError counts what fails inside of AWS: nothing does here.
USER_ERROR = "LambdaUserError"
# Set by the load balancer, whatever the client says.
FORWARDED = (b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-port", b"x-amzn-trace-id")

logger = logging.getLogger("local_cloud.elb")


class Balancer:
    """All listeners of this cloud, kept as the API's state says."""

    def __init__(self, targets: Targets) -> None:
        self.targets = targets
        self.metrics = Metrics()
        self.weighted: dict[str, Weighted] = {}
        self._listeners: dict[tuple[str, int], Listener] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="elb")

    def start(self) -> None:
        self._thread.start()
        self.sync()
        asyncio.run_coroutine_threadsafe(self._keep_following(), self._loop)

    def sync(self) -> None:
        """Take up a change of the API's state before the API answers."""
        asyncio.run_coroutine_threadsafe(self._follow(), self._loop).result(10)

    def stop(self) -> None:
        """Take no more requests, and let those under way finish."""
        asyncio.run_coroutine_threadsafe(self._close_all(), self._loop).result(STOP_SECONDS + 5)

    async def _keep_following(self) -> None:
        counted = 0.0
        while True:
            await asyncio.sleep(FOLLOW_SECONDS)
            try:
                await self._follow()
                self._flush()
                now = time.monotonic()
                if now - counted >= HOST_COUNT_SECONDS:
                    counted = now
                    self._count_hosts()
            except Exception:
                logger.exception("the load balancers could not follow the API's state")

    async def _follow(self) -> None:
        wanted = {(r["ListenerArn"], r["Port"]) for r in alb._listeners.all_values()}
        for key in self._listeners.keys() - wanted:
            self._listeners.pop(key).close()
        for key in wanted - self._listeners.keys():
            await self._open(*key)
        self.targets.follow()

    async def _open(self, arn: str, port: int) -> None:
        listener = Listener(self, arn)
        try:
            await listener.open(port)
        except OSError as error:
            # Tried again each second: at a restart the port may be someone else's for a while.
            logger.error("listener %s cannot have port %d: %s", arn, port, error)
            return
        self._listeners[arn, port] = listener

    async def _close_all(self) -> None:
        listeners = list(self._listeners.values())
        for listener in listeners:
            listener.close()
        busy = [task for listener in listeners for task in listener.connections]
        if busy:
            await asyncio.wait(busy, timeout=STOP_SECONDS)
        self._flush()

    def _flush(self) -> None:
        for load_balancer in self.metrics.load_balancers:
            with request_scope(*scope_of(load_balancer)):
                self.metrics.flush(load_balancer)

    def _count_hosts(self) -> None:
        for rule in alb._rules.all_values():
            for group in {arn for action in rule["Actions"] for arn in weights_of(action)}:
                with request_scope(*scope_of(group)):
                    load_balancer = alb._listeners[rule["ListenerArn"]]["LoadBalancerArn"]
                    states = [target.state for target in self.targets.of(group)]
                    healthy, unhealthy = states.count("healthy"), states.count("unhealthy")
                    self.metrics.hosts(load_balancer, group, healthy, unhealthy)


class Listener:
    """One listening port and its connections."""

    def __init__(self, balancer: Balancer, arn: str) -> None:
        self.balancer = balancer
        self.arn = arn
        self.connections: set[asyncio.Task[None]] = set()
        self._idle: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def open(self, port: int) -> None:
        self._server = await asyncio.start_server(self._serve, ADDRESS, port, backlog=1024)

    def close(self) -> None:
        """Stop listening; connections end with the request that is under way."""
        self._server.close()
        self._server = None
        for task in self._idle:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self.connections.add(task)
        task.add_done_callback(self.connections.discard)
        with request_scope(*scope_of(self.arn)):
            wire = Wire(h11.SERVER, reader, writer, self._idle_seconds())
            try:
                while self._server and await self._exchange(wire):
                    wire.h11.start_next_cycle()
            except h11.RemoteProtocolError as error:
                await self._refuse(wire, error.error_status_hint)
            except (OSError, TimeoutError, asyncio.CancelledError):
                pass  # the client went away, was silent for too long, or the listener closed
            except Exception:
                logger.exception("a request failed inside the load balancer")
                await self._refuse(wire, 500)
            finally:
                wire.close()

    def _idle_seconds(self) -> float:
        record = alb._listeners.get(self.arn) or {}
        attributes = (record.get("LoadBalancerArn", ""), "idle_timeout.timeout_seconds", "60")
        return float(alb._lb_attr(*attributes))

    async def _exchange(self, wire: Wire) -> bool:
        """One request and its response; whether the connection can carry another."""
        task = asyncio.current_task()
        self._idle.add(task)
        try:
            request = await wire.receive()
        finally:
            self._idle.discard(task)
        if not isinstance(request, h11.Request):
            return False  # the client closed the connection
        await Exchange(self.balancer, self.arn, wire, request).answer()
        return wire.h11.our_state is h11.DONE and wire.h11.their_state is h11.DONE

    async def _refuse(self, wire: Wire, status: int) -> None:
        if wire.h11.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            await respond_error(wire, status)


class Exchange:
    """One request on its way through a listener's rules to a target."""

    def __init__(self, balancer: Balancer, listener: str, wire: Wire, request: h11.Request) -> None:
        self.balancer = balancer
        self.wire = wire
        self.request = request
        self.listener: dict[str, Any] = alb._listeners[listener]
        self.load_balancer: str = self.listener["LoadBalancerArn"]
        self.group: str | None = None

    async def answer(self) -> None:
        rule = self._rule()
        action = min(rule["Actions"], key=lambda action: action.get("Order", 1))
        if action["Type"] != "forward":
            return await self._act(action)
        try:
            weighted = self.balancer.weighted.setdefault(rule["RuleArn"], Weighted())
            self.group = weighted.pick(weights_of(action))
            target = self.balancer.targets.choose(self.group) if self.group else None
            if target is None:
                raise TargetFailed(503, "no target")
            await self._forward(target)
        except TargetFailed as failure:
            logger.warning("target group %s: %s", self.group, failure)
            self.balancer.metrics.refused(
                self.load_balancer, self.group, failure.status, failure.metric
            )
            await respond_error(self.wire, failure.status)
        return None

    def _rule(self) -> dict[str, Any]:
        arn = self.listener["ListenerArn"]
        rules = [rule for rule in alb._rules.values() if rule["ListenerArn"] == arn]
        rules.sort(key=alb._rule_sort_key)  # the default rule is the last
        return next(rule for rule in rules if rule["IsDefault"] or self._matches(rule))

    def _matches(self, rule: dict[str, Any]) -> bool:
        method, path, headers, query = self._parts()
        parameters = parse_qs(query, keep_blank_values=True)
        return all(
            alb._match_condition(condition, method, path, headers, parameters)
            for condition in rule["Conditions"]
        )

    def _parts(self) -> tuple[str, str, dict[str, str], str]:
        path, _unused, query = self.request.target.decode("latin-1").partition("?")
        headers = {k.decode(): v.decode("latin-1") for k, v in self.request.headers}
        return self.request.method.decode(), path, headers, query

    async def _act(self, action: dict[str, Any]) -> None:
        """A redirect or a fixed response."""
        method, path, headers, query = self._parts()
        headers |= self._forwarded_headers()
        status, answered, body = await alb._execute_action(
            action, method, path, headers, b"", {}, raw_query_string=query
        )
        await self.wire.respond(status, [*answered.items(), ("server", "awselb/2.0")], body)

    async def _forward(self, target: Target) -> None:
        started = time.monotonic()
        if target.address:
            status = await self._proxy(target)
        else:
            status = await self._invoke(target)
        self.balancer.metrics.answered(
            self.load_balancer, target.group, status, time.monotonic() - started
        )

    async def _proxy(self, target: Target) -> int:
        wire = await connect(target.address, target.port, self.wire.idle_seconds)
        try:
            return await proxy(self.wire, wire, self.request, self._target_headers())
        finally:
            wire.close()

    async def _invoke(self, target: Target) -> int:
        body = await self.wire.body(elb_lambda.BODY_LIMIT)
        if body is None:
            raise TargetFailed(413, "the request is too large for a function", USER_ERROR)
        name = "lambda.multi_value_headers.enabled"
        event = elb_lambda.event_of(
            target.group,
            self.request.method.decode(),
            self.request.target.decode("latin-1"),
            [(k.decode(), v.decode("latin-1")) for k, v in end_to_end(self._target_headers())],
            body,
            multi_value=attribute(target.group, name, "false") == "true",
        )
        answer = await elb_lambda.invoke(target.id, target.group, event)
        if answer is elb_lambda.BAD_GATEWAY:
            raise TargetFailed(502, "the function failed", USER_ERROR)
        headers = [*answer.headers, ("server", "awselb/2.0")]
        await self.wire.respond(answer.status, headers, answer.body)
        return answer.status

    def _target_headers(self) -> Headers:
        kept = [(k, v) for k, v in self.request.headers if k not in FORWARDED]
        forwarded = self._forwarded_headers().items()
        return kept + [(k.encode(), v.encode("latin-1")) for k, v in forwarded]

    def _forwarded_headers(self) -> dict[str, str]:
        given = {k.decode(): v.decode("latin-1") for k, v in self.request.headers if k in FORWARDED}
        client = self.wire.writer.get_extra_info("peername")[0]
        return alb._target_headers(self.load_balancer, self.listener, given, client)


async def respond_error(wire: Wire, status: int) -> None:
    """The load balancer's own error page."""
    if wire.h11.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
        # Part of the response is out: only a cut connection says that the rest is missing.
        wire.writer.transport.abort()
        return
    title = f"{status} {HTTPStatus(status).phrase}"
    page = (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n"
        f"<center><h1>{title}</h1></center>\r\n</body>\r\n</html>\r\n"
    )
    headers = [("server", "awselb/2.0"), ("content-type", "text/html")]
    await wire.respond(status, headers, page.encode())
