"""Contract tests of the local cloud: each gap is shown closed here and still open upstream.

When a `test_upstream_...` fails, MiniStack has closed the gap itself: drop the patch.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

CHECKOUT = Path(__file__).parents[2]
FILES = CHECKOUT / "roles/local_cloud/files"
REGION = "eu-central-1"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(condition: Callable[[], Any], seconds: float = 20, what: str = "") -> Any:
    """The first truthy answer of `condition`."""
    deadline = time.monotonic() + seconds
    while True:
        if value := condition():
            return value
        assert time.monotonic() < deadline, f"not within {seconds} s: {what or condition}"
        time.sleep(0.1)


@dataclass
class Api:
    """An AWS API on loopback."""

    port: int
    home: Path

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, service: str, **config: Any) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(**{"retries": {"total_max_attempts": 1}, "read_timeout": 60} | config),
        )


@dataclass
class LocalCloud(Api):
    """A local cloud of the extension, of its own name, port and home."""

    name: str = ""
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def variables(self) -> dict[str, str]:
        return os.environ | {"PYTHONPATH": str(FILES)} | self.environment

    def command(self, name: str, *options: str) -> list[str]:
        cloud = ["--name", self.name, "--port", str(self.port), "--home", str(self.home)]
        return [sys.executable, "-m", "local_cloud", name, *cloud, *options]

    def run(self, name: str, *options: str) -> subprocess.CompletedProcess[str]:
        command = self.command(name, *options)
        return subprocess.run(
            command, capture_output=True, text=True, env=self.variables, timeout=120
        )

    def __call__(self, command: str, *options: str) -> dict[str, Any]:
        """Run a command of the extension that must succeed; its JSON."""
        result = self.run(command, *options)
        assert result.returncode == 0, f"{command}: {result.stderr}\n{self.log()}"
        return json.loads(result.stdout)

    def log(self) -> str:
        path = self.home / "local-cloud.log"
        return path.read_text()[-4000:] if path.exists() else ""

    @property
    def pid(self) -> int:
        return self("status")["pid"]


@pytest.fixture(scope="module")
def make_local_cloud(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., LocalCloud]]:
    """Makes a cloud that is not started yet; all are purged when the file's tests have ended:
    Docker has address ranges for some thirty networks only.
    """
    made: list[LocalCloud] = []

    def make(**environment: str) -> LocalCloud:
        port = free_port()
        home = tmp_path_factory.mktemp("local-cloud")
        made.append(LocalCloud(port, home, f"test-{port}", environment))
        return made[-1]

    yield make
    for cloud in made:
        cloud("purge")


@pytest.fixture(scope="module")
def local_cloud(make_local_cloud: Callable[..., LocalCloud]) -> LocalCloud:
    """A running local cloud."""
    cloud = make_local_cloud()
    cloud("start")
    return cloud


@pytest.fixture(scope="session")
def plain_ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """MiniStack as published, with its own containers and folder."""
    folder = tmp_path_factory.mktemp("ministack")
    api = Api(free_port(), folder)
    environment = os.environ | {
        "GATEWAY_PORT": str(api.port),
        "BIND_HOST": "127.0.0.1",
        "PERSIST_STATE": "1",
        "STATE_DIR": str(folder / "state"),
        "S3_PERSIST": "1",
        "S3_DATA_DIR": str(folder / "s3"),
        "SFTP_ENABLED": "0",
        "IOT_MTLS_ENABLED": "0",
    }
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ministack"], env=environment, stdout=log, stderr=log
        )
    try:
        until(lambda: answers(f"{api.endpoint}/_ministack/health"), 60, "MiniStack's health")
        yield api
    finally:
        process.terminate()
        process.wait(30)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False
