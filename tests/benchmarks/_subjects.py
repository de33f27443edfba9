# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is measured, how it is started, and how figures are printed."""

from __future__ import annotations

import http.client
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import docker
from docker.models.containers import Container

CHECKOUT = Path(__file__).parents[2]
DIRECTORY = CHECKOUT / "build/benchmarks"
EMULATOR = CHECKOUT / ".cache/lambda-rie/aws-lambda-rie-x86_64"
SERVE = "/usr/local/bin/serve"
NATIVE = "/usr/local/bin/native"
PORT = 8000
SERVER: dict[str, Any] = {"environment": {"APP_SERVED_BY": "benchmark"}}
# As roles/service runs it, and as Kubernetes' restricted profile asks for.
HARDENED: dict[str, Any] = SERVER | {
    "user": "1000",
    "read_only": True,
    "tmpfs": {"/tmp": ""},
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
    "mem_limit": "128m",
    "pids_limit": 100,
}
# What lets systemd run as PID 1 in a container; units are started as on a machine.
MACHINE: dict[str, Any] = {
    "cgroupns": "host",
    "cap_add": ["SYS_ADMIN"],
    "tmpfs": {"/run": "", "/run/lock": "", "/tmp": "exec"},
}


@dataclass(frozen=True)
class Subjects:
    """The images, the folder with releases, and the native server."""

    images: dict[str, str]
    releases: Path
    native: Path

    def share(self, name: str, release: str = "benchmark", precompiled: bool = True) -> Path:
        """A share with that release as the current one."""
        share = DIRECTORY / "shares" / name
        shutil.rmtree(share, ignore_errors=True)
        directory = share / "releases" / release
        with tarfile.open(self.releases / f"app-0.0.0-{release}.tar") as bundle:
            bundle.extractall(directory, filter="data")
        if not precompiled:
            shutil.rmtree(directory / "aot")
        (share / "current").symlink_to(f"releases/{release}")
        return share


def prepare() -> Subjects:
    """Build whatever is not there yet."""
    playbook = Path(__file__).with_name("subjects.yml")
    command = [Path(sys.executable).with_name("ansible-playbook"), "-i", "localhost,", playbook]
    environment = os.environ | {"ANSIBLE_LOCALHOST_WARNING": "0"}
    built = subprocess.run(
        command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False
    )
    if built.returncode:
        sys.exit(built.stdout + built.stderr)
    made = json.loads((DIRECTORY / "subjects.json").read_text())
    images = {name: f"multicompute/{name}:{tag}" for name, tag in made["images"].items()}
    return Subjects(images, Path(made["releases"]), Path(made["native"]))


@contextmanager
def created(image: str, *command: str, **options: Any) -> Iterator[Container]:
    """A container that is not started yet, and is gone afterwards."""
    name = f"multicompute-benchmark-{uuid.uuid4().hex[:8]}"
    container = docker.from_env().containers.create(image, list(command), name=name, **options)
    try:
        yield container
    except Exception as error:
        container.reload()
        error.add_note(f"{container.attrs['State']}\n{container.logs(tail=100).decode()}")
        raise
    finally:
        container.remove(force=True, v=True)


@contextmanager
def booted(image: str, *mounts: str) -> Iterator[tuple[Container, Callable[..., str]]]:
    """A machine, and what runs a command on it."""
    never = "/dev/null:/etc/cloud/cloud-init.disabled:ro"
    volumes = ["/sys/fs/cgroup:/sys/fs/cgroup:rw", never, *mounts]

    def run(*command: str) -> str:
        code, output = machine.exec_run(list(command))
        assert code == 0, output.decode()
        return str(output.decode())

    with created(image, volumes=volumes, **MACHINE) as machine:
        machine.start()
        deadline = time.monotonic() + 60
        state = b""
        while state.strip() not in (b"running", b"degraded"):
            assert time.monotonic() < deadline, state
            _code, state = machine.exec_run(["systemctl", "is-system-running", "--wait"])
        yield machine, run


def address_of(container: Container) -> str:
    container.reload()
    return str(container.attrs["NetworkSettings"]["Networks"]["bridge"]["IPAddress"])


def first_answer(ask: Callable[[], Any], seconds: float = 60) -> Any:
    """What the server says as soon as it listens."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except (OSError, http.client.HTTPException):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.0005)


def request(address: str, port: int, path: str = "/", body: str | None = None) -> bytes:
    connection = http.client.HTTPConnection(address, port, timeout=30)
    try:
        connection.request("POST" if body else "GET", path, body=body)
        response = connection.getresponse()
        content = response.read()
    finally:
        connection.close()
    assert response.status == 200, (response.status, content)
    return content


def table(titles: list[str], rows: list[list[str]]) -> None:
    """As docs/performance.md has it."""
    print("| " + " | ".join(titles) + " |")
    print("|---" + "|---:" * (len(titles) - 1) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def middle(figures: list[float], digits: int = 0) -> str:
    return f"{median(figures):.{digits}f}"


def describe_machine() -> None:
    load = os.getloadavg()[0]
    print(f"{platform.system()} {platform.release()}, {os.cpu_count()} cores, load {load:.1f}\n")
