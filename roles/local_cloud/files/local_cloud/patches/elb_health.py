"""Registered targets of all target groups: their health, and who of them may get a request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import h11
from docker.errors import DockerException
from ministack.core.responses import request_scope
from ministack.services import alb

from . import elb_lambda
from .elb_http import TargetFailed, status_of
from .elb_routing import matches, weights_of

AGENT = "ELB-HealthChecker/2.0"
INITIAL_PACE = 1  # AWS's many nodes make up the first verdict sooner than one interval, too

Key = tuple[str, int | None]
Verdict = tuple[str, str, str]  # state, reason, description

REGISTERING = ("initial", "Elb.RegistrationInProgress", "Target registration is in progress")
CHECKING = ("initial", "Elb.InitialHealthChecking", "Initial health checks in progress")
HEALTHY = ("healthy", "", "")
UNCHECKED = (
    "unavailable",
    "Target.HealthCheckDisabled",
    "Health checks are disabled for this target group",
)
NOT_IN_USE = (
    "unused",
    "Target.NotInUse",
    "Target group is not configured to receive traffic from the load balancer",
)
NOT_RUNNING = ("unused", "Target.InvalidState", "Target is in the stopped state")
NOT_REGISTERED = (
    "unused",
    "Target.NotRegistered",
    "Target is not registered to the target group",
)
DRAINING = (
    "draining",
    "Target.DeregistrationInProgress",
    "Target deregistration is in progress",
)
TIMED_OUT = ("unhealthy", "Target.Timeout", "Request timed out")
FAILED = ("unhealthy", "Target.FailedHealthChecks", "Health checks failed")


def mismatch(status: int) -> Verdict:
    text = f"Health checks failed with these codes: [{status}]"
    return ("unhealthy", "Target.ResponseCodeMismatch", text)


def scope_of(arn: str) -> tuple[str, str]:
    """Account and region of an ARN, in the order of `request_scope`."""
    _unused, _unused, _unused, region, account, _unused = arn.split(":", 5)
    return account, region


@dataclass(eq=False)
class Target:
    """One registered target."""

    group: str
    id: str
    port: int | None
    verdict: Verdict = REGISTERING
    address: str | None = None
    registered: float = field(default_factory=time.monotonic)
    gone_at: float = 0  # when a draining target's time is up
    successes: int = 0
    failures: int = 0
    watch: asyncio.Task[None] | None = None

    @property
    def state(self) -> str:
        return self.verdict[0]

    def observe(self, group: dict[str, Any], failure: Verdict | None) -> None:
        """Take one health check's outcome into account."""
        if failure is None:
            self.failures, self.successes = 0, self.successes + 1
            # A new target needs one success, one that had failed needs them in a row.
            if self.state != "unhealthy" or self.successes >= group["HealthyThresholdCount"]:
                self.verdict = HEALTHY
            return
        self.failures, self.successes = self.failures + 1, 0
        if self.state == "initial":
            patience = group["UnhealthyThresholdCount"] * group["HealthCheckIntervalSeconds"]
            over = time.monotonic() - self.registered >= patience
            self.verdict = failure if over else CHECKING
        elif self.state != "healthy" or self.failures >= group["UnhealthyThresholdCount"]:
            self.verdict = failure

    def rest(self, verdict: Verdict) -> None:
        """Stop checking, with this verdict."""
        if self.watch:
            self.watch.cancel()
            self.watch = None
        self.verdict = verdict


class Targets:
    """Follows what is registered in the API's state; used on the balancer's loop only, but for
    the reading methods."""

    def __init__(self, address_of_instance: Callable[[str], str | None]) -> None:
        self._address_of_instance = address_of_instance
        self._groups: dict[str, dict[Key, Target]] = {}
        self._turn: dict[str, int] = {}

    def of(self, group: str) -> list[Target]:
        return list(self._groups.get(group, {}).values())

    def choose(self, group: str) -> Target | None:
        """The next target of a group, in turn; None when none can take a request."""
        targets = self.of(group)
        able = [t for t in targets if t.state in ("healthy", "unavailable")]
        # With none healthy the load balancer tries the unhealthy ones ("fail open").
        able = able or [t for t in targets if t.state == "unhealthy"]
        if not able:
            return None
        turn = self._turn[group] = self._turn.get(group, -1) + 1
        return able[turn % len(able)]

    def follow(self) -> None:
        """Start, drain and drop targets, so that they are those that the API has."""
        in_use = groups_in_use()
        records = dict(alb._tgs.all_items())
        for account, region, arn in records:
            with request_scope(account, region):
                registered = {(t["Id"], t.get("Port")) for t in alb._targets.get(arn, [])}
                self._follow_group(arn, alb._tgs[arn], registered, arn in in_use)
        for arn in self._groups.keys() - {arn for _unused, _unused, arn in records}:
            for target in self._groups.pop(arn).values():
                target.rest(NOT_IN_USE)

    def _follow_group(
        self, arn: str, group: dict[str, Any], registered: set[Key], in_use: bool
    ) -> None:
        targets = self._groups.setdefault(arn, {})
        for key in registered:
            if key not in targets or targets[key].state == "draining":
                targets[key] = Target(arn, *key)
            self._set_to_work(targets[key], group, in_use)
        for key in targets.keys() - registered:
            self._drain(targets, key)

    def _set_to_work(self, target: Target, group: dict[str, Any], in_use: bool) -> None:
        if not in_use:
            target.rest(NOT_IN_USE)
        elif not group["HealthCheckEnabled"]:
            target.rest(UNCHECKED)
        elif target.watch is None:
            target.verdict, target.registered = REGISTERING, time.monotonic()
            target.watch = asyncio.get_running_loop().create_task(self._watch(target))

    def _drain(self, targets: dict[Key, Target], key: Key) -> None:
        target = targets[key]
        if target.state != "draining":
            delay = attribute(target.group, "deregistration_delay.timeout_seconds", "0")
            target.gone_at = time.monotonic() + int(delay)
            unused = target.verdict == NOT_IN_USE
            target.rest(DRAINING)
            if unused:
                target.gone_at = 0
        if time.monotonic() >= target.gone_at:
            del targets[key]

    async def _watch(self, target: Target) -> None:
        """Check one target's health until it leaves."""
        with request_scope(*scope_of(target.group)):
            while group := alb._tgs.get(target.group):
                failure = await self._check(target, group)
                if failure == NOT_RUNNING:
                    target.verdict = NOT_RUNNING
                else:
                    target.observe(group, failure)
                waiting = target.state in ("initial", "unused")
                interval = group["HealthCheckIntervalSeconds"]
                await asyncio.sleep(min(INITIAL_PACE, interval) if waiting else interval)

    async def _check(self, target: Target, group: dict[str, Any]) -> Verdict | None:
        """One health check: None, or why it failed."""
        try:
            async with asyncio.timeout(group["HealthCheckTimeoutSeconds"]):
                status = await self._status(target, group)
        except TimeoutError:
            return TIMED_OUT
        except (TargetFailed, OSError, h11.ProtocolError, DockerException):
            return FAILED
        if status is None:
            return NOT_RUNNING
        return None if matches(status, group["Matcher"]["HttpCode"]) else mismatch(status)

    async def _status(self, target: Target, group: dict[str, Any]) -> int | None:
        path, seconds = group["HealthCheckPath"], group["HealthCheckTimeoutSeconds"]
        if group["TargetType"] == "lambda":
            event = elb_lambda.event_of(
                target.group, "GET", path, [("user-agent", AGENT)], b"", multi_value=False
            )
            return (await elb_lambda.invoke(target.id, target.group, event)).status
        address: str | None = target.id
        if group["TargetType"] == "instance":
            address = await asyncio.to_thread(self._address_of_instance, target.id)
        # Requests use it meanwhile.
        target.address = address
        if address is None:
            return None
        port = group["HealthCheckPort"]
        number = target.port if port == "traffic-port" else int(port)
        return await status_of(address, number, path, AGENT, seconds)


def groups_in_use() -> set[str]:
    """ARNs of the target groups that some listener's rule forwards to."""
    return {arn for rule in alb._rules.all_values() for arn in groups_of(rule["Actions"])}


def groups_of(actions: Iterable[dict[str, Any]]) -> set[str]:
    return {arn for action in actions for arn in weights_of(action)}


def attribute(group: str, key: str, default: str) -> str:
    """A target group's attribute; within its account."""
    attributes = alb._tg_attrs.get(group, [])
    return next((a["Value"] for a in attributes if a["Key"] == key), default)
