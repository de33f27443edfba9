# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From source to running containers: the real toolchain, runtime and engine.

What cargo compiled is shared with `make site` and kept in .cache/builder, so only the first run of
either takes minutes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.multicompute.spin.tests.modules.conftest import endpoint

__all__ = ["endpoint"]

CHECKOUT = Path(__file__).parents[2]
APP = CHECKOUT / "runtime/app"


@dataclass
class Play:
    """What ansible-playbook said of a play with one role."""

    code: int
    output: dict[str, Any]

    @property
    def changed(self) -> list[str]:
        return [task for task, result in self._results() if result.get("changed")]

    @property
    def message(self) -> str:
        """What the task that ended the play said."""
        failures = [result["msg"] for _task, result in self._results() if result.get("failed")]
        assert self.code != 0 and failures, self.output
        return str(failures[-1])

    @property
    def facts(self) -> dict[str, Any]:
        assert self.code == 0, self.message
        known: dict[str, Any] = {}
        for _task, result in self._results():
            for item in result.get("results", [result]):  # of a loop
                known |= item.get("ansible_facts", {})
        return known

    def _results(self) -> list[tuple[str, dict[str, Any]]]:
        return [
            (task["task"]["name"].split(" : ")[-1], result)
            for play in self.output["plays"]
            for task in play["tasks"]
            for result in task["hosts"].values()
        ]


RunRole = Callable[..., Play]


@pytest.fixture(scope="session")
def role(tmp_path_factory: pytest.TempPathFactory) -> RunRole:
    """`role("app", check=True, app_version="1.0.0")` runs a role on this machine."""

    def run(name: str, tasks_from: str = "main", check: bool = False, **variables: Any) -> Play:
        include = {"name": f"multicompute.spin.{name}", "tasks_from": tasks_from}
        play = {
            "hosts": "localhost",
            "connection": "local",
            "gather_facts": False,
            "vars": {"ansible_python_interpreter": "{{ ansible_playbook_python }}"} | variables,
            "tasks": [{"name": name, "ansible.builtin.include_role": include}],
        }
        playbook = tmp_path_factory.mktemp("play") / "play.json"
        playbook.write_text(json.dumps([play]))
        settings = {
            "ANSIBLE_LOCALHOST_WARNING": "0",
            "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
            # Not the home that the user database names, as under `sudo -E`.
            "HOME": str(playbook.parent),
        }
        ansible_playbook = Path(sys.executable).with_name("ansible-playbook")
        command = [ansible_playbook, "--inventory", "localhost,", str(playbook)]
        done = subprocess.run(
            command + ["--check"] * check,
            env=os.environ | settings,
            cwd=playbook.parent,  # away from the project's ansible.cfg
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout.startswith("{"), done.stdout + done.stderr
        return Play(done.returncode, json.loads(done.stdout))

    return run


@pytest.fixture(scope="session")
def app(role: RunRole, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The project's own app as a release, precompiled for this machine; with `directory`."""
    directory = tmp_path_factory.mktemp("build")
    built = role("app", app_build_dir=str(directory), wasm_runtime="wasmtime")
    return built.facts["app_release"] | {"directory": directory}


def answer(port: int, seconds: float = 20, path: str = "/") -> tuple[int, str, dict[str, str]]:
    """The first answer on a loopback port, with its headers."""
    deadline = time.monotonic() + seconds
    while True:
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode(), dict(response.getheaders())
        except OSError:
            assert time.monotonic() < deadline, f"no answer on port {port}"
            time.sleep(0.05)
        finally:
            connection.close()
