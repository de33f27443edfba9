"""Container output in CloudWatch Logs, line by line; `flush` says when the last one is there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import docker
from docker.models.containers import Container
from ministack.core.responses import get_account_id, get_region, request_scope
from ministack.services import cloudwatch_logs

FLUSH_SECONDS = 5

_followers: dict[str, threading.Thread] = {}  # container id -> its follower


def follow(container: Container, group: str, stream: str, region: str | None = None) -> None:
    """Send the container's output to a log stream, which is created; the group must exist."""
    account, region = get_account_id(), region or get_region()
    with request_scope(account, region):
        _create_stream(group, stream)

    def run() -> None:
        with request_scope(account, region):
            _send(container, _writer(group, stream))
        _followers.pop(container.id, None)

    thread = threading.Thread(target=run, daemon=True, name=f"logs-{container.short_id}")
    _followers[container.id] = thread
    thread.start()


def flush(container_id: str) -> None:
    """Wait until the output of a container that has ended is in its stream."""
    if follower := _followers.get(container_id):
        follower.join(FLUSH_SECONDS)


def group_exists(group: str, region: str | None = None) -> bool:
    with request_scope(get_account_id(), region or get_region()):
        return group in cloudwatch_logs._log_groups


def create_group(group: str, region: str | None = None) -> None:
    with request_scope(get_account_id(), region or get_region()):
        if group not in cloudwatch_logs._log_groups:
            cloudwatch_logs._create_log_group({"logGroupName": group})


def _create_stream(group: str, stream: str) -> None:
    if stream not in cloudwatch_logs._log_groups[group]["streams"]:
        cloudwatch_logs._create_log_stream({"logGroupName": group, "logStreamName": stream})


def _writer(group: str, stream: str) -> Callable[[str], None]:
    def write(line: str) -> None:
        event = {"timestamp": int(time.time() * 1000), "message": line}
        cloudwatch_logs._put_log_events(
            {"logGroupName": group, "logStreamName": stream, "logEvents": [event]}
        )

    return write


def _send(container: Container, write: Callable[[str], None]) -> None:
    rest = b""
    for chunk in _chunks(container):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            write(line.decode(errors="replace"))
    if rest:
        write(rest.decode(errors="replace"))


def _chunks(container: Container) -> Iterator[bytes]:
    received = 0
    with suppress(docker.errors.DockerException, OSError):
        for chunk in container.logs(stream=True, follow=True):
            received += len(chunk)
            yield chunk
        # Docker may end the stream before the last of a container that ends.
        yield container.logs()[received:]
