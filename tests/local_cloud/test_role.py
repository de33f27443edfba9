"""The role local_cloud: predicts, starts, finds, and removes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import CHECKOUT, LocalCloud

PLAYBOOK = """
- hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.include_role:
        name: multicompute.spin.local_cloud
    - ansible.builtin.debug:
        msg: "running {{ local_cloud_running }} at {{ local_cloud_endpoint | default('-') }}"
"""


class Play:
    """Runs of a playbook with the role."""

    def __init__(self, cloud: LocalCloud, folder: Path) -> None:
        self.cloud = cloud
        self.playbook = folder / "play.yml"
        self.playbook.write_text(PLAYBOOK)
        self.config = folder / "ansible.cfg"
        self.config.write_text("[defaults]\nstdout_callback = ansible.posix.json\n")

    def __call__(self, *options: str, **variables: Any) -> tuple[int, str]:
        """How many tasks changed (-1: it failed), and what it said."""
        variables |= {
            "ansible_connection": "local",
            "ansible_python_interpreter": "{{ ansible_playbook_python }}",
            "local_cloud_name": self.cloud.name,
            "local_cloud_port": self.cloud.port,
            "local_cloud_home": str(self.cloud.home),
        }
        command = [CHECKOUT / ".venv/bin/ansible-playbook", "-i", "localhost,", self.playbook]
        result = subprocess.run(
            [*command, *options, "-e", json.dumps(variables)],
            capture_output=True,
            text=True,
            cwd=CHECKOUT,
            env=os.environ | {"ANSIBLE_CONFIG": str(self.config)},
        )
        said = json.loads(result.stdout[result.stdout.index("{") :])
        if result.returncode:
            return -1, json.dumps(said["plays"])
        last = said["plays"][0]["tasks"][-1]["hosts"]["localhost"]["msg"]
        return said["stats"]["localhost"]["changed"], last


@pytest.fixture
def play(make_local_cloud: Callable[..., LocalCloud], tmp_path: Path) -> Play:
    return Play(make_local_cloud(), tmp_path)


def test_prediction_start_and_removal(play: Play) -> None:
    endpoint = play.cloud.endpoint
    assert play("--check") == (1, f"running False at {endpoint}")
    assert play.cloud("status")["running"] is False
    assert play() == (1, f"running True at {endpoint}")
    assert play() == (0, f"running True at {endpoint}")
    assert play("--check") == (0, f"running True at {endpoint}")
    gone = {"local_cloud_state": "absent"}
    assert play("--check", **gone) == (1, "running True at -")
    assert play.cloud("status")["running"] is True
    assert play(**gone) == (1, "running False at -")
    assert not play.cloud.home.exists()
    assert play(**gone) == (0, "running False at -")


def test_the_port_in_use_is_an_error_that_names_the_variable(play: Play) -> None:
    with socket.create_server(("127.0.0.1", play.cloud.port)):
        changed, said = play()
    assert changed == -1
    assert f"port {play.cloud.port} is in use by" in said
    assert "set local_cloud_port to a free port" in said
