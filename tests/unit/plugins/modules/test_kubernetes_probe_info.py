# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pods that are servers on loopback; a real cluster is asked in tests/kubernetes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.multicompute.spin.plugins.modules import kubernetes_probe_info as module
from ansible_collections.multicompute.spin.tests.unit.plugins._stub import run_module

# An app without identity headers, with a page and a login.
ANSWERS = {"/": 401, "/shop": 200}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(ANSWERS.get(self.path, 404))
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


def pod(name: str, version: str, ready: str = "True") -> Any:
    return SimpleNamespace(
        metadata=SimpleNamespace(
            name=name, deletion_timestamp=None, labels={module.VERSION: version}
        ),
        status=SimpleNamespace(conditions=[SimpleNamespace(type="Ready", status=ready)]),
    )


class Cluster:
    def __init__(self, port: int, pods: list[Any]) -> None:
        self.port, self._pods = port, pods
        self.asked: list[str] = []

    def pods(self, namespace: str, selector: str) -> list[Any]:
        return self._pods

    def forward(self, pod: Any, port: int) -> Any:
        self.asked.append(pod.metadata.name)
        return socket.create_connection(("127.0.0.1", self.port))


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    pods = [pod("one", "1.0.0_build"), pod("two", "1.0.0_build"), pod("old", "0.9.0", "False")]
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        made = Cluster(server.server_port, pods)

        @contextmanager
        def connect(_self: Any) -> Iterator[Cluster]:
            yield made

        monkeypatch.setattr(module.KubernetesModule, "cluster", connect)
        yield made
        server.shutdown()


def ask(**options: Any) -> dict[str, Any]:
    return run_module(module, {"namespace": "app", "label_selector": "app=app", **options})


def test_an_app_that_does_not_say_who_it_is_is_known_by_its_pods(cluster: Cluster) -> None:
    result = ask(requests=4)
    assert (result["requests"], result["failures"]) == (4, 0), "401 is an answer"
    assert (result["pods"], result["versions"]) == (["one", "two"], ["1.0.0+build"])
    assert result["releases"] == []
    assert result["served_by"].keys() == {"unknown"}


def test_each_pod_is_asked_what_the_release_wants(cluster: Cluster) -> None:
    probes = [{"path": "/shop", "status": "200"}, {"path": "/", "status": "200"}]
    result = ask(requests=1, probes=probes)
    assert cluster.asked == ["one", "two", "one", "two"]
    assert (result["requests"], result["failures"]) == (4, 2)
    failure = result["first_failure"]
    assert (failure["path"], failure["status"], failure["expected"]) == ("/", 401, "200")


def test_where_no_pod_is_ready_none_is_asked(cluster: Cluster) -> None:
    cluster._pods = cluster._pods[2:]
    result = ask()
    assert (result["requests"], result["pods"], result["versions"]) == (0, [], [])
