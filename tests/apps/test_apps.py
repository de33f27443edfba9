# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each app does what tests/apps/build.py says of it, as runtime/serve starts it."""

from __future__ import annotations

import os
import re
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import docker
import pytest
from ansible_collections.multicompute.spin.plugins.module_utils import _trial
from ansible_collections.multicompute.spin.plugins.module_utils._release import ReleaseError
from ansible_collections.multicompute.spin.plugins.modules.wasm_bundle import check_imports
from ansible_collections.multicompute.spin.tests import apps
from ansible_collections.multicompute.spin.tests.local_cloud.conftest import until

SERVE = Path(__file__).resolve().parents[2] / "runtime/serve"
ADDRESS = re.compile(rb"Serving HTTP on http://127\.0\.0\.1:(\d+)/")


@dataclass
class Server:
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def port(self) -> int | None:
        found = ADDRESS.search(self.log.read_bytes())
        return int(found[1]) if found else None

    def ask(
        self, path: str = "/", seconds: float = 10, body: bytes | None = None
    ) -> tuple[int, bytes, list[tuple[str, str]]]:
        assert self.port
        connection = HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        try:
            connection.request("POST" if body else "GET", path, body)
            response = connection.getresponse()
            return response.status, response.read(), response.getheaders()
        finally:
            connection.close()

    def status(self, path: str = "/", seconds: float = 10) -> int | None:
        """None where there is no answer."""
        try:
            return self.ask(path, seconds)[0]
        except (OSError, HTTPException):
            return None

    def statuses(self, requests: int, seconds: float = 10) -> list[int | None]:
        return [self.status(seconds=seconds) for _ in range(requests)]


@pytest.fixture(scope="module")
def wasmtime() -> Path:
    return apps.wasmtime()


Serving = Callable[..., Server]


@pytest.fixture
def serving(wasmtime: Path, tmp_path: Path) -> Iterator[Serving]:
    with ExitStack() as stack:

        def start(wasm: Path, **environment: str) -> Server:
            server = stack.enter_context(served(wasmtime, wasm, tmp_path, environment))
            until(lambda: server.port, 60, "a server that listens")
            return server

        yield start


def share(wasm: Path, folder: Path) -> Path:
    (folder / "releases/1.0.0").mkdir(parents=True)
    (folder / "current").symlink_to("releases/1.0.0")
    (folder / "releases/1.0.0/app.wasm").symlink_to(wasm)
    return folder


@contextmanager
def served(
    wasmtime: Path, wasm: Path, folder: Path, environment: dict[str, str]
) -> Iterator[Server]:
    path = f"{wasmtime.parent}:/usr/bin:/bin"
    known = {"PATH": path, "APP_SHARE": str(share(wasm, folder / "share"))}
    known |= {"APP_LISTEN": "127.0.0.1:0", "APP_SERVED_BY": "me"} | environment
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([SERVE], env=known, stdout=log, stderr=log)
        try:
            yield Server(process, folder / "log")
        finally:
            process.kill()
            process.wait()


@pytest.mark.parametrize("name", apps.APPS)
def test_it_says_hello_and_nothing_of_who_it_is(serving: Serving, name: str) -> None:
    server = serving(apps.APPS[name]())
    for _ in range(3):
        status, body, headers = server.ask()
        assert (status, body.decode()) == (200, f"Hello from {name}")
        assert not [header for header, _value in headers if header.startswith("x-")]
        for path in ("/nowhere", "/health", "/.well-known/spin/health"):
            assert server.status(path) == 404


def test_the_demanding_one_needs_all_that_http_has(serving: Serving) -> None:
    server = serving(apps.demanding())
    status, _body, headers = server.ask()
    assert status == 401 and ("www-authenticate", 'Basic realm="apps"') in headers
    _status, _body, headers = server.ask("/cookies")
    cookies = [value for header, value in headers if header == "set-cookie"]
    assert cookies == ["a=1; Path=/", "b=2; Path=/"]
    assert server.ask("/stream")[:2] == (200, bytes(range(256)) * (20 << 12))
    upload = os.urandom(5 << 20)
    assert server.ask("/upload", body=upload)[:2] == (200, str(len(upload)).encode())
    assert server.status("/nowhere") == 404


@pytest.mark.parametrize(
    ("behaviour", "root", "health"),
    [("ok", 200, 200), ("always-500", 500, 200), ("health-404", 200, 404)],
)
def test_what_fails_always(serving: Serving, behaviour: str, root: int, health: int) -> None:
    server = serving(apps.broken(behaviour))
    assert server.statuses(5) == [root] * 5
    assert server.status("/health") == health
    assert server.status("/nowhere") == (500 if root == 500 else 404)


def test_every_tenth_fails(serving: Serving) -> None:
    server = serving(apps.broken("tenth-500"))
    answers = server.statuses(600)
    assert set(answers) == {200, 500} and 20 < answers.count(500) < 120
    assert {server.status("/health") for _ in range(60)} == {200}


def test_every_tenth_hangs(serving: Serving) -> None:
    server = serving(apps.broken("tenth-hangs"))
    answers = server.statuses(60, seconds=0.3)
    assert set(answers) == {200, None} and answers.count(None) < 25
    assert {server.status("/health") for _ in range(60)} == {200}


def test_it_is_slow(serving: Serving) -> None:
    server = serving(apps.broken("slow-3s"))
    start = time.monotonic()
    assert server.status("/health") == 200 and time.monotonic() - start < 2
    assert server.status() == 200 and time.monotonic() - start > 3


def test_an_instance_traps_after_twenty_requests(
    serving: Serving, wasmtime: Path, tmp_path: Path
) -> None:
    wasm = apps.broken("crash-after-20")
    found = _trial.complaint(str(wasmtime), [str(wasm)], 128, ["/"], tmp_path / "trial")
    assert found == (
        "request 21 of 200, for /, was answered with 500, where the first one was with 200"
    )
    server = serving(wasm, APP_INSTANCE_REUSE="128")
    assert [number for number, s in enumerate(server.statuses(64), 1) if s != 200] == [21, 42, 63]


def test_without_reuse_that_one_survives(serving: Serving) -> None:
    assert serving(apps.broken("crash-after-20")).statuses(64) == [200] * 64


def test_it_becomes_bad_later(serving: Serving) -> None:
    at = time.time() + 5
    server = serving(apps.broken("bad-later", at))
    assert server.status() == 200
    until(lambda: time.time() > at + 1, 10)
    assert (server.status(), server.status("/health")) == (500, 200)


def test_it_starts_late(serving: Serving) -> None:
    at = time.time() + 5
    server = serving(apps.broken("slow-start", at))
    assert server.status("/health", seconds=0.5) is None
    assert server.status() == 200 and time.time() >= int(at)


def test_it_floods_the_log(serving: Serving) -> None:
    server = serving(apps.broken("floods-log"))
    assert server.status("/health") == 200 and server.log.stat().st_size < 10_000
    assert server.status(seconds=60) == 200
    assert server.log.stat().st_size > 500_000


def test_it_does_not_start(wasmtime: Path, tmp_path: Path) -> None:
    wasm = apps.broken("does-not-start")
    check_imports(wasm, ["wasmtime", "spin"])  # so it is published
    with served(wasmtime, wasm, tmp_path, {}) as server:
        assert server.process.wait(20) != 0
        assert b"get-random-u99" in server.log.read_bytes()


def test_one_for_another_world_is_refused_when_it_is_bundled() -> None:
    wasm = apps.broken("another-world")
    with pytest.raises(ReleaseError, match=r"imports acme:random/random@0\.2\.0, which wasmtime"):
        check_imports(wasm, ["wasmtime"])


def test_it_eats_the_server(wasmtime: Path, tmp_path: Path) -> None:
    wasm = apps.broken("eats-memory")
    container = docker.from_env().containers.run(
        "debian:trixie-slim",
        ["wasmtime", "serve", "--addr=0.0.0.0:8000", "-Scli", "-Ccache=n", "/app.wasm"],
        name=f"multicompute-test-{uuid.uuid4().hex[:8]}",
        volumes=[f"{wasmtime}:/usr/local/bin/wasmtime:ro", f"{wasm}:/app.wasm:ro"],
        ports={"8000/tcp": ("127.0.0.1", None)},
        mem_limit="256m",
        memswap_limit="256m",
        detach=True,
    )

    def status(path: str) -> int | None:
        container.reload()
        connection = HTTPConnection(
            "127.0.0.1", int(container.ports["8000/tcp"][0]["HostPort"]), timeout=60
        )
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (OSError, HTTPException):
            return None
        finally:
            connection.close()

    try:
        until(lambda: status("/health") == 200, 60, "an answer")
        assert status("/") is None
        assert container.wait(timeout=60)["StatusCode"] == 137
    finally:
        container.remove(force=True)


@pytest.mark.parametrize("behaviour", ["always-500", "bad-later"])
def test_one_compilation_gives_all(behaviour: str) -> None:
    whole = apps.broken("ok")
    assert apps.broken(behaviour, 12).stat().st_size == whole.stat().st_size
    with pytest.raises(AssertionError, match="'worse' is none of ok, always-500"):
        apps.broken("worse")
