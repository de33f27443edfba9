"""playbooks/hosts.yml on an inventory like inventories/onprem: one machine's life, in order."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from docker.models.containers import Container

from ..load import load
from .conftest import CHECKOUT, VERSION, Machine, files

NEXT_VERSION = "0.0.2"


@dataclass
class OnPremises:
    """An inventory like the example's, whose one machine is a container for a Raspberry Pi."""

    inventory: Path
    machine: Machine
    before: set[str]
    output: str = ""

    def set(self, **variables: Any) -> None:
        path = self.inventory / "group_vars/all.yml"
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | variables))

    def add(self, group: str, **hosts: dict[str, Any]) -> None:
        path = self.inventory / "hosts.yml"
        inventory = yaml.safe_load(path.read_text())
        inventory["all"]["children"][group] = {"hosts": hosts}
        path.write_text(yaml.safe_dump(inventory))

    def run(self, *arguments: str, host: str = "pi", fails: bool = False) -> int:
        """How many tasks changed something on the host."""
        command = ["ansible-playbook", "playbooks/hosts.yml", "-i", str(self.inventory)]
        result = subprocess.run(
            [*command, *arguments],
            cwd=CHECKOUT,
            env=os.environ
            | {
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "ANSIBLE_PIPELINING": "true",
                "ANSIBLE_NOCOLOR": "true",
            },
            capture_output=True,
            text=True,
        )
        self.output = result.stdout + result.stderr
        assert (result.returncode != 0) == fails, self.output
        return int(re.findall(rf"{host} +: ok=\d+ +changed=(\d+)", result.stdout)[-1])

    @property
    def url(self) -> str:
        self.machine.container.reload()
        network = self.machine.container.attrs["NetworkSettings"]["Networks"]["bridge"]
        return f"http://{network['IPAddress']}:8000/"

    @property
    def process(self) -> int:
        return int(self.machine.host.process.get(comm="wasmtime").pid)


@pytest.fixture(scope="module")
def on_premises(
    boot_plain: Callable[..., Machine],
    mirrored_wasmtime: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> OnPremises:
    example = CHECKOUT / "inventories/onprem"
    machine = boot_plain()
    made = OnPremises(tmp_path_factory.mktemp("onprem"), machine, before=files(machine))
    (made.inventory / "hosts.yml").write_text((example / "hosts.yml").read_text())
    made.add(
        "machines",
        pi={
            "ansible_host": made.machine.name,
            "ansible_connection": "community.docker.docker",
            "ansible_become": False,  # root already
            "runtime_host_address": urlsplit(made.url).hostname,
            **mirrored_wasmtime,
        },
    )
    (made.inventory / "group_vars").mkdir()
    for path in (example / "group_vars").iterdir():
        (made.inventory / "group_vars" / path.name).write_text(path.read_text())
    made.set(app_version=VERSION)
    if app_wasm := os.environ.get("APP_WASM"):
        made.set(app_wasm=app_wasm)
    return made


def test_check_mode_predicts_and_changes_nothing(on_premises: OnPremises) -> None:
    assert on_premises.run("--check", "--diff") >= 8, on_premises.output
    assert f"+APP_RELEASE={VERSION}" in on_premises.output
    assert f"active: {VERSION}" in on_premises.output
    assert files(on_premises.machine) == on_premises.before


def test_the_machine_serves_the_app_that_was_built_here(on_premises: OnPremises) -> None:
    assert on_premises.run() >= 8
    answer = on_premises.machine.answer()
    assert (answer.status, answer.body) == (200, "Hello, Fermyon")
    assert answer.headers["x-served-by"] == "pi"
    assert answer.headers["x-release"] == VERSION
    said = on_premises.output.splitlines()
    assert f"endpoint: {on_premises.url}" in said
    (row,) = [line for line in said if re.match("pi +machine ", line)]
    assert re.search(rf" {VERSION} +healthy .* {re.escape(on_premises.url)}$", row)
    assert f"  curl -i {on_premises.url}" in said
    journal = on_premises.machine.run("journalctl", "--unit=multicompute@*", "--no-pager")
    assert "compiling" not in journal, "the release was precompiled for this machine"


def test_a_new_version_is_published_and_served(on_premises: OnPremises) -> None:
    on_premises.set(app_version=NEXT_VERSION)
    predicted = on_premises.run("--check", "--diff")
    assert f"+APP_RELEASE={NEXT_VERSION}" in on_premises.output
    with load(8000, host=str(urlsplit(on_premises.url).hostname)) as asked:
        # The bundle, over and away again; the share, twice; the new server's settings, start and
        # boot; the proxy's file and reload; the former server's stop and settings.
        assert on_premises.run() == 11, on_premises.output
    # The bundle is neither copied nor removed in a prediction.
    assert predicted == 9
    assert asked.failures == []
    assert list(asked.releases()) == [VERSION, NEXT_VERSION]
    assert on_premises.machine.answer().headers["x-release"] == NEXT_VERSION
    assert on_premises.process, "one server is left"
    releases = on_premises.machine.run("ls", "-A", "/mnt/app", "/mnt/app/releases").split()
    assert releases == ["/mnt/app:", "current", "releases", "/mnt/app/releases:"] + [
        ".history",
        ".lock",
        VERSION,
        NEXT_VERSION,
    ]


def test_a_release_that_fails_its_proof_never_serves(on_premises: OnPremises) -> None:
    process = on_premises.process
    on_premises.set(app_version="0.0.3", app_probes=[{"path": "/", "text": "Goodbye"}])
    for _again in range(2):
        with load(8000, host=str(urlsplit(on_premises.url).hostname)) as asked:
            on_premises.run(fails=True)
        said = " ".join(on_premises.output.split())
        assert "pi does not get release 0.0.3, and what served serves on." in said
        assert "/ answered 200, wanted is 200-499 with 'Goodbye'." in said
        assert "set app_probes" in said
        assert "serve: release 0.0.3 with wasmtime on 127.0.0.1:8001" in said, "its log"
        assert asked.failures == []
        assert list(asked.releases()) == [NEXT_VERSION]
        assert on_premises.machine.host.file("/mnt/app/current").linked_to.endswith(NEXT_VERSION)
    on_premises.set(app_version=NEXT_VERSION, app_probes=[])
    assert on_premises.run() == 0, on_premises.output
    assert on_premises.process == process


def test_without_the_builder_nothing_is_touched(on_premises: OnPremises) -> None:
    on_premises.set(app_version="0.0.3")
    assert on_premises.run("--limit", "pi", fails=True) == 0
    assert "--limit workstation,pi takes it in" in on_premises.output
    assert on_premises.machine.answer().headers["x-release"] == NEXT_VERSION
    on_premises.set(app_version=NEXT_VERSION)


def test_a_file_server_gets_the_release_and_serves_nothing(
    on_premises: OnPremises, run: Callable[..., Container], plain_image: str
) -> None:
    nas = Machine(run(plain_image, command=["sleep", "infinity"], detach=True, init=True))
    on_premises.add(
        "shares",
        nas={
            "ansible_host": nas.name,
            "ansible_connection": "community.docker.docker",
            "runtime_host_share_source": "/srv/app",
        },
    )
    for changed in (True, False):
        assert (on_premises.run("--limit", "workstation,nas", host="nas") > 0) == changed
    assert nas.run("readlink", "/srv/app/current").strip() == f"releases/{NEXT_VERSION}"
    assert not nas.host.file("/usr/local/bin/serve").exists


def test_a_boot_brings_back_what_served(on_premises: OnPremises) -> None:
    on_premises.machine.container.restart(timeout=20)
    assert on_premises.machine.answer().headers["x-release"] == NEXT_VERSION
    assert on_premises.process


def test_absent_leaves_nothing(on_premises: OnPremises) -> None:
    on_premises.set(runtime_host_state="absent")
    assert on_premises.run("--check") >= 2
    assert on_premises.machine.answer(), "check mode changed nothing"
    assert on_premises.run() >= 3
    assert files(on_premises.machine) == on_premises.before
    host = on_premises.machine.host
    assert not host.user("multicompute").exists
    assert "multicompute" not in host.run("systemctl list-units --all --plain").stdout
    assert on_premises.machine.ask() is None
    assert on_premises.run() == 0, on_premises.output
