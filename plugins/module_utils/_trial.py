# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tries whether an app survives that an instance of it answers more than one request.

It is served on a free port of the loopback interface and asked, one request after the other, so
that all of them meet the same instance. What it answers first is what it should answer later: an
app that needs what only its primitive has may well fail here, but then each time alike.
"""

from __future__ import annotations

import re
import subprocess
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path

REQUESTS = 200
SECONDS = 20.0  # for all of it: a slow app is tried with fewer requests
STARTING = 60.0  # without a precompiled file, wasmtime compiles it first
ADDRESS = re.compile(rb"Serving HTTP on http://127\.0\.0\.1:(\d+)/")


def complaint(wasmtime: str, program: list[str], reuse: int, paths: list[str], log: Path) -> str:
    """What the first bad answer was, or nothing."""
    serve = [wasmtime, "serve", "--addr=127.0.0.1:0", "-Scli", "-Ccache=n", "-Opooling-allocator=n"]
    # Ends by itself where this process is killed.
    command = [
        "timeout",
        str(int(STARTING + SECONDS)),
        *serve,
        f"--max-instance-reuse-count={reuse}",
    ]
    with log.open("wb") as output:
        server = subprocess.Popen([*command, *program], stdout=output, stderr=output)
        try:
            port = _port(server, log)
            # Why it does not start is told where it is to serve, and has nothing to do with reuse.
            return _differing(port, paths) if port else ""
        finally:
            server.terminate()
            server.wait()


def _port(server: subprocess.Popen[bytes], log: Path) -> int | None:
    deadline = time.monotonic() + STARTING
    while server.poll() is None and time.monotonic() < deadline:
        if found := ADDRESS.search(log.read_bytes()):
            return int(found[1])
        time.sleep(0.005)
    return None


def _differing(port: int, paths: list[str]) -> str:
    first: dict[str, str] = {}
    deadline = time.monotonic() + SECONDS
    connection = HTTPConnection("127.0.0.1", port, timeout=SECONDS / 2)
    for number in range(REQUESTS):
        path = paths[number % len(paths)]
        answer = _answer(connection, path)
        expected = first.setdefault(path, answer)
        if answer[:1] != expected[:1]:  # the class of the status, such as 2 of 200
            return (
                f"request {number + 1} of {REQUESTS}, for {path}, was answered with {answer}, "
                f"where the first one was with {expected}"
            )
        if time.monotonic() > deadline:
            break
    connection.close()
    return ""


def _answer(connection: HTTPConnection, path: str) -> str:
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
    except (OSError, HTTPException) as error:
        connection.close()
        return f"no answer ({type(error).__name__})"
    return str(response.status)
