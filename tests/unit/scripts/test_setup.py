# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine that gets no Docker engine is told why, and left as it was.

The real script and Docker command run on a copy of the checkout. What would change this machine
(apt-get, dockerd) is a stub that writes down its call; `id` says who the user is.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

SETUP = Path(__file__).parents[3] / "scripts/setup"
TOOLS = (
    "awk",
    "bash",
    "cat",
    "cut",
    "dirname",
    "env",
    "flock",
    "readlink",
    "seq",
    "setsid",
    "sleep",
    "tail",
)
NOWHERE = "unix:///nowhere/docker.sock"


class Machine:
    """A checkout with its environment in place, and a PATH of its own."""

    def __init__(self, folder: Path) -> None:
        self.checkout = folder / "checkout"
        self.path = folder / "bin"
        self.calls = folder / "calls"
        self.log = folder / "dockerd.log"
        self.path.mkdir()
        for tool in TOOLS:
            (self.path / tool).symlink_to(str(shutil.which(tool)))
        text = SETUP.read_text().replace("/var/log/dockerd.log", str(self.log))
        (self.path / "packer").symlink_to(str(shutil.which("true")))
        self.write("scripts/setup", text)
        versions = dict(re.findall(r"^(uv|sam)_version=(.+)$", text, re.MULTILINE))
        self.write(".cache/uv/bin/uv", f"#!/bin/sh\necho uv {versions['uv']}\n")
        self.write(".cache/lambda-rie/version", versions["sam"])
        self.write(".cache/lambda-rie/aws-lambda-rie-x86_64", "")
        self.write(".venv/bin/python", "")
        packages = Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
        link = self.checkout / ".venv" / packages / "ansible_collections/multicompute/spin"
        link.parent.mkdir(parents=True)
        link.symlink_to(self.checkout)

    def write(self, name: str, text: str) -> None:
        path = self.checkout / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def has(self, command: str, says: str, code: int = 0) -> None:
        stub = f"#!/bin/sh\necho {command} $* >>{self.calls}\necho '{says}'\nexit {code}\n"
        (self.path / command).write_text(stub)
        (self.path / command).chmod(0o755)

    def has_docker(self) -> None:
        """However this machine's engine is reached: not from here."""
        command = f'#!/bin/sh\nDOCKER_HOST={NOWHERE} exec {shutil.which("docker")} "$@"\n'
        (self.path / "docker").write_text(command)
        (self.path / "docker").chmod(0o755)

    def called(self) -> str:
        return self.calls.read_text() if self.calls.exists() else ""

    def files(self) -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in self.checkout.rglob("*") if path.is_file()}

    def refusal(self, **variables: str) -> str:
        before = self.files()
        done = subprocess.run(
            [self.checkout / "scripts/setup"],
            env={"PATH": str(self.path), **variables},
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert done.returncode == 1, done
        assert self.files() == before
        assert "Docker" in done.stdout
        assert "base image" not in done.stdout, "went on without an engine"
        return done.stderr


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_an_engine_that_the_user_names_is_not_replaced(machine: Machine) -> None:
    machine.has_docker()
    machine.has("id", "0")
    machine.has("dockerd", "")
    machine.has("apt-get", "")
    message = machine.refusal(DOCKER_HOST=NOWHERE)
    assert f"no Docker or Podman engine answers at DOCKER_HOST={NOWHERE}" in message
    assert "unset DOCKER_HOST" in message
    assert machine.called() == ""


def test_who_is_not_root_is_told_to_be(machine: Machine) -> None:
    machine.has_docker()
    machine.has("id", "1000")
    machine.has("dockerd", "")
    machine.has("apt-get", "")
    message = machine.refusal()
    assert "no Docker engine answers, and only root can start one" in message
    assert "sudo scripts/setup" in message and "DOCKER_HOST" in message
    assert machine.called() == "id -u\n"


def test_a_machine_without_apt_is_told_what_to_install(machine: Machine) -> None:
    machine.has("id", "0")
    message = machine.refusal()
    assert message == (
        "setup: docker.io missing, and there is no apt-get here: "
        "install docker.io by other means and run again\n"
    )


def test_apt_that_fails_is_named_and_shown(machine: Machine) -> None:
    machine.has("id", "0")
    machine.has("apt-get", "E: Unable to fetch", 100)
    message = machine.refusal()
    assert "setup: apt-get could not read its sources to install docker.io: see above" in message
    assert "apt-get -qq install" not in machine.called()


@pytest.mark.skipif(Path("/run/systemd/system").exists(), reason="systemd would start the engine")
def test_an_engine_that_ends_at_start_shows_its_log(machine: Machine) -> None:
    machine.has_docker()
    machine.has("id", "0")
    machine.has("dockerd", "failed to start daemon: no cgroups", 1)
    message = machine.refusal()
    assert "failed to start daemon: no cgroups" in message
    assert f"setup: the Docker engine did not start: see {machine.log}" in message
    assert "dockerd --mtu" in machine.called()
