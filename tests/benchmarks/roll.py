# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a roll costs a host's clients: a second server on another port, or a restart in place.

Takes wasmtime and the release of `make site` from build/. The client stands in for the load
balancer: from the moment that the second server is healthy, new requests go there.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.load import Load, load  # noqa: E402
from tests.local_cloud.conftest import free_port  # noqa: E402

PER_SECOND = 500
ROLLS = 10


def serve(program: Path, port: int) -> subprocess.Popen[bytes]:
    options = ["-S", "cli", "-C", "cache=n", "-O", "pooling-allocator=n"]
    options += ["--max-instance-reuse-count", "128", "--allow-precompiled"]
    command = [ROOT / "build/wasmtime", "serve", "--addr", f"127.0.0.1:{port}", *options, program]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_until_healthy(port: int) -> None:
    while True:
        connection = HTTPConnection("127.0.0.1", port, timeout=1)
        try:
            connection.request("GET", "/")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.005)
        finally:
            connection.close()


class Host:
    """One server, and how it is replaced."""

    def __init__(self, program: Path) -> None:
        self.program = program
        self.port = free_port()
        self.server = serve(program, self.port)
        wait_until_healthy(self.port)

    def end(self) -> None:
        self.server.send_signal(signal.SIGINT)
        self.server.wait()

    def restart_in_place(self, _answered: Load) -> None:
        self.end()
        self.server = serve(self.program, self.port)
        wait_until_healthy(self.port)

    def second_port(self, answered: Load) -> None:
        former, port = self.server, free_port()
        self.server = serve(self.program, port)
        wait_until_healthy(port)
        answered.port = self.port = port
        time.sleep(0.2)  # the last requests to the former one
        former.send_signal(signal.SIGINT)
        former.wait()


def measure(program: Path, way: Callable[[Host, Load], None]) -> tuple[int, int, float]:
    """Failed requests, all requests, and seconds of a roll."""
    host = Host(program)
    with load(host.port, PER_SECOND) as answered:
        time.sleep(0.5)
        start = time.monotonic()
        for _ in range(ROLLS):
            way(host, answered)
        seconds = (time.monotonic() - start) / ROLLS
        time.sleep(0.5)
    host.end()
    return len(answered.failures), len(answered.answers), seconds


def main() -> None:
    bundle = max((ROOT / "build").glob("app-*.tar"), key=lambda path: path.stat().st_mtime)
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(bundle) as archive:
            archive.extractall(folder, filter="data")
        (program,) = Path(folder).glob("aot/*-amd64.cwasm")
        print(f"{ROLLS} rolls of one host at {PER_SECOND} requests a second")
        for name, way in (
            ("second port", Host.second_port),
            ("restart in place", Host.restart_in_place),
        ):
            failed, total, seconds = measure(program, way)
            print(f"{name:17} {failed:6} of {total} requests failed, {seconds:.2f} s a roll")


if __name__ == "__main__":
    main()
