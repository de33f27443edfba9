# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.multicompute.spin.plugins.callback import result_screen

PRIMITIVES = [
    {
        "name": "ec2",
        "kind": "instance",
        "architecture": "amd64",
        "weight": 100,
        "release": "1.0.0",
        "health": "healthy",
        "requests": 20,
        "failures": 0,
        "standby": "",
        "error": "",
        "share": 66.7,
        "p50_ms": 2.4,
    },
    {
        "name": "lambda-arm64",
        "kind": "function",
        "architecture": "arm64",
        "weight": 0,
        "release": "",
        "health": "unhealthy",
        "requests": 0,
        "failures": 0,
        "share": 0.0,
        "p50_ms": None,
    },
]
RESULT = {
    "endpoint": "http://127.0.0.1:8080",
    "release": "1.0.0",
    "primitives": PRIMITIVES,
    "next": ["curl -i http://127.0.0.1:8080", "make status"],
}
SCREEN = """\
endpoint: http://127.0.0.1:8080
release: 1.0.0

PRIMITIVE     KIND      ARCH   WEIGHT  RELEASE  HEALTH     REQUESTS  FAILED   SHARE     P50
ec2           instance  amd64     100  1.0.0    healthy          20       0  66.7 %  2.4 ms
lambda-arm64  function  arm64       0  -        unhealthy         0       0   0.0 %       -

next:
  curl -i http://127.0.0.1:8080
  make status
"""


def command(folder: Path, stats: dict[str, Any]) -> tuple[list[str], dict[str, str]]:
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "tasks": [{"name": "Result", "ansible.builtin.set_stats": {"data": stats}}],
    }
    (folder / "play.yml").write_text(json.dumps([play]))
    unset = {"ANSIBLE_CONFIG", "NO_COLOR", "ANSIBLE_NOCOLOR", "ANSIBLE_FORCE_COLOR"}
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    environment |= {
        "ANSIBLE_CALLBACKS_ENABLED": "multicompute.spin.result_screen",
        "COLUMNS": "200",
        "TERM": "xterm",
    }
    program = str(Path(sys.executable).parent / "ansible-playbook")
    return [program, "-i", "localhost,", "play.yml"], environment


def play(folder: Path, stats: dict[str, Any]) -> str:
    arguments, environment = command(folder, stats)
    done = subprocess.run(
        arguments, env=environment, cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_screen_ends_the_run(tmp_path: Path) -> None:
    output = play(tmp_path, {"multicompute_result": RESULT})
    assert output.index("PLAY RECAP") < output.index("endpoint:")
    assert output.endswith(SCREEN)
    assert "\033" not in output


@pytest.mark.parametrize("stats", [{}, {"other": 1}])
def test_otherwise_nothing(tmp_path: Path, stats: dict[str, Any]) -> None:
    output = play(tmp_path, stats)
    assert "endpoint" not in output
    assert output.rstrip().splitlines()[-1].startswith("localhost ")


def test_only_what_there_is(tmp_path: Path) -> None:
    result = {"endpoint": "http://127.0.0.1:8080"}
    output = play(tmp_path, {"multicompute_result": result})
    assert output.endswith("endpoint: http://127.0.0.1:8080\n")


def test_standby_and_error_where_there_are_any() -> None:
    rows = [
        {"name": "ec2", "health": "healthy", "failures": 0, "standby": "1.0.0", "error": ""},
        {"name": "ecs", "health": "healthy", "failures": 2, "standby": "", "error": "GET /: 500"},
    ]
    head, good, bad = result_screen.table(rows)
    assert head[0].split() == ["PRIMITIVE", "STANDBY", "HEALTH", "FAILED", "ERROR"]
    assert good[0].split() == ["ec2", "1.0.0", "healthy", "0", "-"]
    assert bad[0].split() == ["ecs", "-", "healthy", "2", "GET", "/:", "500"]
    # Whoever answered badly is not well, even if the load balancer calls it healthy.
    assert (good[1], bad[1]) == ("green", "red")


def test_colour_on_a_terminal(tmp_path: Path) -> None:
    arguments, environment = command(tmp_path, {"multicompute_result": RESULT})
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        arguments, env=environment, cwd=tmp_path, stdout=follower, stderr=follower
    )
    os.close(follower)
    output = b""
    while chunk := _read(leader):
        output += chunk
    os.close(leader)
    assert process.wait() == 0
    lines = output.decode().replace("\r", "").splitlines()
    (healthy,) = [line for line in lines if "instance  amd64" in line]
    (unhealthy,) = [line for line in lines if "function  arm64" in line]
    assert healthy.startswith("\033[") and unhealthy.startswith("\033[")
    assert healthy.split("m")[0] != unhealthy.split("m")[0]


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except OSError:  # Linux's way to say that the other side is closed
        return b""
