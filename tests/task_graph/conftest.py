# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""task_graph by ansible-playbook, as users run it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.multicompute.spin.tests.local_cloud import conftest as local

make_local_cloud = local.make_local_cloud
local_cloud = local.local_cloud

HERE = Path(__file__).parent
ANSIBLE_PLAYBOOK = str(Path(sys.executable).with_name("ansible-playbook"))
INVENTORY = f"""
all:
  hosts: {{here: }}
  vars:
    ansible_connection: local
    ansible_python_interpreter: {sys.executable}
"""
GRAPH = "multicompute.spin.task_graph"
PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - multicompute.spin.task_graph: {file: tasks.yml}
      register: graph
"""


@dataclass
class Run:
    """How a playbook ended."""

    code: int
    output: str
    events: list[dict[str, Any]]

    @property
    def text(self) -> str:
        """The output on one line, for messages that Ansible folds."""
        return " ".join(self.output.split())

    def told(self, event: str | None = None, host: str | None = None) -> list[dict[str, Any]]:
        """Events of single tasks, of a graph or not."""
        return [
            told
            for told in self.events
            if told["name"] != GRAPH
            and event in (None, told["event"])
            and host in (None, told["host"])
        ]

    def names(self, event: str | None = None) -> list[str]:
        return [told["name"] for told in self.told(event)]

    @property
    def graph(self) -> dict[str, Any]:
        """What the last task_graph returned."""
        return [told["result"] for told in self.events if told["name"] == GRAPH][-1]

    @property
    def changed(self) -> int:
        return sum(map(int, re.findall(r"changed=(\d+)", self.output)))


@dataclass
class Place:
    """A folder with playbooks."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def write(self, **files: str) -> None:
        """YAML files; two underscores stand for a slash."""
        for name, content in files.items():
            path = self.folder / f"{name.replace('__', '/')}.yml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)

    @property
    def variables(self) -> dict[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            "ANSIBLE_CONFIG": str(self.folder / "ansible.cfg"),
            "ANSIBLE_CALLBACK_PLUGINS": str(HERE / "plugins"),
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
            "RECORD": str(self.folder / "record"),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            **self.environment,
        }

    def command(self, *options: str, playbook: str = "play.yml") -> list[str]:
        return [ANSIBLE_PLAYBOOK, "-i", "inventory.yml", playbook, *options]

    def start(self, *options: str, playbook: str = "play.yml") -> subprocess.Popen[str]:
        (self.folder / "ansible.cfg").touch()
        (self.folder / "record").write_text("")
        return subprocess.Popen(
            self.command(*options, playbook=playbook),
            cwd=self.folder,
            env=self.variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *options: str, playbook: str = "play.yml", fails: bool = False) -> Run:
        process = self.start(*options, playbook=playbook)
        output, _none = process.communicate(timeout=300)
        assert bool(process.returncode) is fails, output
        events = [json.loads(line) for line in (self.folder / "record").read_text().splitlines()]
        return Run(process.returncode, output, events)

    def memory_files(self) -> list[Path]:
        return sorted(self.folder.glob("cache/multicompute.spin/task-graph/*"))

    def memory(self) -> str:
        """All that is remembered."""
        return "\n".join(file.read_text() for file in self.memory_files())


def make_place(folder: Path, **environment: str) -> Place:
    place = Place(folder, environment)
    place.write(inventory=INVENTORY, play=PLAY)
    return place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return make_place(tmp_path)


@pytest.fixture
def run(place: Place) -> Callable[..., Run]:
    """Runs these tasks as a graph on one host."""

    def run(tasks: str, *options: str, fails: bool = False, **files: str) -> Run:
        place.write(tasks=tasks, **files)
        return place.run(*options, fails=fails)

    return run
