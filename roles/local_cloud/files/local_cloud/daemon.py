"""The background process of one local cloud: started, found and ended by its locked pid file.

The daemon holds a lock on the file for its lifetime, so a file that a killed daemon left behind
is told from a live one without asking whether its process id was used again.
"""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any

from .settings import Cloud, LocalCloudError

START_SECONDS = 60
STOP_SECONDS = 20


def hold(cloud: Cloud) -> IO[str]:
    """Be the daemon of `cloud`: returns its pid file, locked until the process ends."""
    cloud.home.mkdir(parents=True, exist_ok=True)
    file = cloud.pid.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LocalCloudError(f"it already runs from {cloud.home}") from None
    file.truncate(0)
    file.write(json.dumps({"pid": os.getpid(), "port": cloud.port}))
    file.flush()
    return file


def find(cloud: Cloud) -> dict[str, Any] | None:
    """`{"pid": ..., "port": ...}` of the running daemon, None when there is none."""
    try:
        file = cloud.pid.open()
    except FileNotFoundError:
        return None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _read(file)
    return None


def _read(file: IO[str]) -> dict[str, Any]:
    for _unused in range(50):
        file.seek(0)
        if content := file.read():
            return json.loads(content)
        time.sleep(0.02)  # the daemon has its lock, and is about to write
    raise LocalCloudError(f"{file.name} is locked but empty: remove it when no local cloud runs")


def start(cloud: Cloud) -> None:
    """Start the daemon in a session of its own, so that it outlives this process."""
    cloud.home.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", __package__, "serve", *cloud.arguments()]
    with cloud.log.open("a") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        )
    wait_healthy(cloud, process)


def wait_healthy(cloud: Cloud, process: subprocess.Popen[bytes] | None = None) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if healthy(cloud):
            return
        starting = process and process.poll() is None
        if not starting and find(cloud) is None:
            tail = "\n".join(cloud.log.read_text(errors="replace").splitlines()[-15:])
            raise LocalCloudError(f"it ended at start; the end of {cloud.log}:\n{tail}")
        time.sleep(0.1)
    raise LocalCloudError(f"it did not answer within {START_SECONDS} s; see {cloud.log}")


def healthy(cloud: Cloud) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", cloud.port, timeout=5)
    try:
        connection.request("GET", "/_ministack/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def stop(cloud: Cloud) -> bool:
    """End the daemon; returns whether there was one."""
    found = find(cloud)
    if not found:
        return False
    for signal_number, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, 5)):
        try:
            os.kill(found["pid"], signal_number)
        except ProcessLookupError:
            return True
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if find(cloud) is None:
                return True
            time.sleep(0.05)
    raise LocalCloudError(f"process {found['pid']} does not end")
