# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules against a real API: MiniStack on loopback, one AWS account for each test."""

from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import pytest
from ansible_collections.multicompute.spin.tests.local_cloud import conftest as local
from ansible_collections.multicompute.spin.tests.unit.plugins._stub import CREDENTIALS, run_module

# In MiniStack a function takes half a second to be ready, which would be most of these tests' time.
START = """
import runpy
from ministack.services import lambda_svc
lambda_svc._LAMBDA_STATE_TRANSITION_DELAY = 0
runpy.run_module("ministack", run_name="__main__")
"""
Run = Callable[..., dict[str, Any]]

# For what only the local cloud has: what it mends in MiniStack, its balancer, and its faults.
make_local_cloud = local.make_local_cloud
local_cloud = local.local_cloud


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = tmp_path_factory.mktemp("ministack")
    environment = os.environ | {
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "SFTP_ENABLED": "0",
        "IOT_MTLS_ENABLED": "0",
        "TMPDIR": str(home),
        # These tests need no containers, and those of others must stay untouched.
        "DOCKER_HOST": f"unix://{home}/none",
    }
    log = (home / "log").open("w")
    command = [sys.executable, "-c", START]
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=home)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_up(url, process, home / "log")
        yield url
    finally:
        process.terminate()
        process.wait(60)


def _wait_until_up(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(f"{url}/_ministack/health", timeout=2).close()
            return
        except OSError:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)


_accounts = itertools.count(200000000000 + os.getpid() * 1000)


@pytest.fixture
def accounts(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Callable[[str], Any]]:
    """Each call opens an empty account, which modules find by their environment."""
    for name in ("AWS_PROFILE", "AWS_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)

    def open_account() -> Callable[[str], Any]:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", str(next(_accounts)))
        return boto3.Session().client

    return open_account


@pytest.fixture
def cloud(accounts: Callable[[], Callable[[str], Any]]) -> Callable[[str], Any]:
    """An empty account: `cloud("efs")` is a client."""
    return accounts()


@pytest.fixture
def faults(local_cloud: local.LocalCloud) -> Iterator[Callable[..., None]]:
    """Replaces the faults of the local cloud; those before must all have been met."""

    def call(method: str, content: Any = None) -> list[dict[str, Any]]:
        request = urllib.request.Request(
            f"{local_cloud.endpoint}/_local_cloud/faults",
            method=method,
            data=json.dumps(content).encode(),
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.load(response)

    def inject(*entries: dict[str, Any]) -> None:
        before = call("GET")
        call("PUT", entries)
        assert all(fault["hits"] for fault in before), before

    yield inject
    inject()


@pytest.fixture
def converge() -> Run:
    """Check, run, run again, check again: the prediction must come true, and then rest."""

    def run(module: ModuleType, args: dict[str, Any]) -> dict[str, Any]:
        predicted = run_module(module, args, check=True)
        real = run_module(module, args)
        assert not real.get("failed"), real["msg"]
        assert not predicted.get("failed"), predicted["msg"]
        assert predicted["changed"] is real["changed"]
        assert predicted["diff"] == real["diff"]
        assert_same_shape(predicted, real)
        for check in (False, True):
            again = run_module(module, args, check=check)
            assert again["changed"] is False, again["diff"]
            assert again["diff"]["before"] == again["diff"]["after"]
        return real

    return run


def assert_same_shape(predicted: Any, real: Any, path: str = "result") -> None:
    """A prediction has every key of the real result, so that later tasks find it in check mode."""
    if isinstance(real, dict) and isinstance(predicted, dict):
        ignored = {"diff", "invocation", "warnings"} if path == "result" else set()
        assert predicted.keys() - ignored == real.keys() - ignored, path
        # AWS writes into policies what was left out.
        for key in real.keys() - ignored - {"policy"}:
            assert_same_shape(predicted[key], real[key], f"{path}.{key}")
