# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A deployment of the tests' own: own name, ports and folder beside a running `make site`."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import docker
import pytest

from ..local_cloud.conftest import free_port
from .api_requests import recording

ROOT = Path(__file__).parents[2]
BIN = ROOT / ".venv" / "bin"


@dataclass
class Run:
    """How a playbook ended."""

    code: int
    output: str
    seconds: float

    @property
    def changed(self) -> int:
        """Tasks that changed something, those of graphs too: the recap counts a graph as one."""
        return len(re.findall(r"^changed: \[", self.output, re.MULTILINE))

    @property
    def text(self) -> str:
        """The output on one line, for messages that Ansible folds."""
        return " ".join(self.output.split())

    @property
    def endpoint(self) -> str:
        return re.findall(r"^endpoint: (\S+)", self.output, re.MULTILINE)[-1]


@dataclass
class Answer:
    body: bytes
    served_by: str
    release: str
    instance: str


@dataclass
class Deployment:
    """One local cloud and what the playbooks make in it."""

    name: str
    home: Path
    build: Path
    api_port: int = field(default_factory=free_port)
    port: int = field(default_factory=free_port)

    def variables(self) -> list[str]:
        values = {
            "deployment_name": self.name,
            "local_cloud_port": self.api_port,
            "load_balancer_port": self.port,
            "local_cloud_home": str(self.home),
            # A running `make site` of this checkout keeps its own.
            "app_build_dir": str(self.build),
            "image_build_dir": str(self.build / "image"),
        }
        return ["--extra-vars", json.dumps(values)]

    @property
    def requests(self) -> Path:
        """What the playbooks asked of AWS."""
        return self.build.parent / "requests.jsonl"

    def command(self, playbook: str, *arguments: str) -> list[str]:
        return [str(BIN / "ansible-playbook"), playbook, *self.variables(), *arguments]

    def start(self, playbook: str, *arguments: str, log: Path) -> subprocess.Popen[bytes]:
        """Start a playbook in a session of its own, so that it can be interrupted like a terminal
        does."""
        return subprocess.Popen(
            self.command(playbook, *arguments),
            cwd=ROOT,
            env=environment(**recording(self.requests)),
            stdout=log.open("wb"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def run(self, playbook: str, *arguments: str) -> Run:
        started = time.monotonic()
        ended = subprocess.run(
            self.command(playbook, *arguments),
            cwd=ROOT,
            env=environment(**recording(self.requests)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=1200,
            check=False,
        )
        return Run(ended.returncode, ended.stdout, time.monotonic() - started)

    def must(self, playbook: str, *arguments: str) -> Run:
        run = self.run(playbook, *arguments)
        assert run.code == 0, run.output[-6000:]
        return run

    def ask(self) -> Answer:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=30) as answer:
            headers = answer.headers
            return Answer(
                answer.read(), headers["x-served-by"], headers["x-release"], headers["x-instance"]
            )

    def count(self, requests: int = 30) -> Counter[str]:
        return Counter(self.ask().served_by for _ in range(requests))

    def containers(self) -> list[docker.models.containers.Container]:
        label = {"label": f"multicompute.local-cloud={self.name}"}
        return docker.from_env().containers.list(all=True, filters=label, ignore_removed=True)

    def running(self) -> dict[str, str]:
        """Start time by ID of each running container: the same before and after means nothing
        was restarted."""
        return {
            container.id: container.attrs["State"]["StartedAt"]
            for container in self.containers()
            if container.status == "running"
        }

    def processes(self) -> list[str]:
        """Command lines of this local cloud's processes."""
        found = subprocess.run(
            ["pgrep", "--full", "--list-full", f"local_cloud .*--name {self.name} "],
            capture_output=True,
            text=True,
            check=False,
        )
        return found.stdout.splitlines()

    def mounts(self) -> list[str]:
        return [
            line for line in Path("/proc/mounts").read_text().splitlines() if str(self.home) in line
        ]

    def networks(self) -> list[str]:
        names = [network.name for network in docker.from_env().networks.list()]
        return [name for name in names if self.name in name]

    def images(self) -> list[str]:
        """Names of images that belong to this deployment."""
        # The client's own list looks at each image, of which another test may remove one meanwhile.
        images = docker.from_env().api.images()
        names = [
            name
            for image in images
            for name in [*(image["RepoTags"] or []), *(image["RepoDigests"] or [])]
        ]
        return [name for name in names if f"{self.name}/" in name]

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=f"http://127.0.0.1:{self.api_port}",
            region_name="us-east-1",
            aws_access_key_id="local-cloud-access",
            aws_secret_access_key="local-cloud-secret",
        )

    def resources(self) -> list[str]:
        """ARNs of what carries the deployment's tag."""
        pages = (
            self.client("resourcegroupstaggingapi")
            .get_paginator("get_resources")
            .paginate(TagFilters=[{"Key": "multicompute:deployment", "Values": [self.name]}])
        )
        return [item["ResourceARN"] for page in pages for item in page["ResourceTagMappingList"]]


def environment(**more: str) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        # Credentials of the developer's must not reach a test.
        if not name.startswith(("AWS_", "ANSIBLE_")) and name != "PYTHONDONTWRITEBYTECODE"
    }
    return {**kept, "PATH": f"{BIN}:{kept['PATH']}", "ANSIBLE_FORCE_COLOR": "0", **more}


def interrupt(process: subprocess.Popen[bytes]) -> None:
    """What Ctrl-C does: SIGINT to the whole foreground group; Ansible may need a second one."""
    for _ in range(20):
        if process.poll() is not None:
            return
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("deployment")
    made = Deployment(f"e2e-{free_port()}", folder / "cloud", folder / "build")
    yield made
    made.run("playbooks/destroy.yml")
