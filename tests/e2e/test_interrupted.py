# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Interrupted runs: after Ctrl-C or a killed local cloud the next run ends as a clean one does."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from .conftest import Deployment, interrupt

EVEN = Counter({"ec2": 10, "ecs": 10, "lambda": 10})
# Each is reached only after the one before was got through.
POINTS = [
    "network : Create the private subnet of zone 1",
    "storage : Create the access point of the servers",
    "image : Push the runtime image",
    "release : Publish and activate",
    "service : Run the release",
]


def run_until(deployment: Deployment, point: str, log: Path) -> subprocess.Popen[bytes]:
    """Start site.yml and return when its output shows that `point` has ended; the play runs on."""
    process = deployment.start("site.yml", log=log)
    deadline = time.monotonic() + 600
    while f"=> (item={point}" not in log.read_text():
        assert process.poll() is None, log.read_text()[-4000:]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process


def shape(deployment: Deployment) -> Counter[str]:
    """What there is, without the IDs that AWS draws."""
    kinds = []
    for arn in deployment.resources():
        service, rest = arn.split(":", 5)[2], arn.split(":", 5)[5]
        kinds.append(f"{service} {re.sub(r'[0-9a-z]*[0-9][0-9a-z]{7,}|:[0-9]+$', '', rest)}")
    return Counter(kinds)


@pytest.fixture(scope="module")
def clean_shape(deployment: Deployment) -> Counter[str]:
    """What one clean run makes."""
    deployment.must("site.yml")
    made = shape(deployment)
    deployment.must("playbooks/destroy.yml")
    return made


def test_interrupted_at_five_points_it_ends_as_one_clean_run(
    deployment: Deployment, clean_shape: Counter[str], tmp_path: Path
) -> None:
    for point in POINTS:
        interrupt(run_until(deployment, point, tmp_path / "log"))
    deployment.must("site.yml")
    assert shape(deployment) == clean_shape
    assert deployment.count() == EVEN


def test_after_kill_9_of_the_local_cloud_site_heals(
    deployment: Deployment, clean_shape: Counter[str], tmp_path: Path
) -> None:
    process = run_until(deployment, "storage : Create the file system", tmp_path / "log")
    for line in deployment.processes():
        os.kill(int(line.split()[0]), signal.SIGKILL)
    assert process.wait(timeout=600) != 0
    deployment.must("site.yml")
    assert shape(deployment) == clean_shape
    answers = [deployment.ask() for _ in range(30)]
    assert Counter(answer.served_by for answer in answers) == EVEN
    assert {answer.release for answer in answers} == {"1.0.0"}
