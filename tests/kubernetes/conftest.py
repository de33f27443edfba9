# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from docker.models.containers import Container

from ..load import Load, load
from . import node

CHECKOUT = Path(__file__).parents[2]


@dataclass
class Cluster:
    name: str
    container: Container
    folder: Path
    output: str = ""

    @property
    def context(self) -> str:
        return f"kind-{self.name}"

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    @property
    def inventory(self) -> Path:
        return self.folder / "hosts.json"

    def write_inventory(self, groups: dict[str, Any], **variables: Any) -> None:
        cluster = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "kubernetes_kubeconfig": str(self.kubeconfig),
            "kubernetes_context": self.context,
            # kind would load it by an exec with all privileges, which not every engine grants.
            "kubernetes_image_loader": "containerd",
            "kubernetes_nodes": ["node"],
            "kubernetes_service_type": "NodePort",
            "kubernetes_timeout": 120,
            "kubernetes_drain": 3,
        }
        inside = {
            "ansible_connection": "community.docker.docker",
            "ansible_host": self.container.name,
            "ansible_python_interpreter": "/usr/bin/python3",
        }
        groups = groups | {
            "clusters": {"hosts": {"pi-cluster": cluster}},
            "nodes": {"hosts": {"node": inside}},
        }
        self.inventory.write_text(json.dumps({"all": {"children": groups, "vars": variables}}))

    def play(
        self, *arguments: str, name: str = "kubernetes", fails: bool = False, **variables: Any
    ) -> int:
        """How many tasks changed something."""
        command: list[Any] = ["ansible-playbook", f"playbooks/{name}.yml", "-i", self.inventory]
        done = subprocess.run(
            [*command, *arguments, "-e", json.dumps(variables)],
            cwd=CHECKOUT,
            env=os.environ
            | {
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "ANSIBLE_NOCOLOR": "true",
            },
            capture_output=True,
            text=True,
        )
        self.output = done.stdout + done.stderr
        assert (done.returncode != 0) == fails, self.output
        return sum(int(count) for count in re.findall(r"changed=(\d+)", done.stdout))

    def kubectl(self, *arguments: str, ok: bool = True) -> str:
        done = subprocess.run(
            [node.kubernetes(), "kubectl", f"--kubeconfig={self.kubeconfig}"]
            + [f"--context={self.context}", *arguments],
            capture_output=True,
            text=True,
        )
        assert not ok or done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def get(self, *arguments: str, namespace: str = "demo") -> Any:
        return json.loads(self.kubectl("get", f"--namespace={namespace}", "-o", "json", *arguments))

    def pods(self, namespace: str = "demo") -> list[Any]:
        found = self.get("pods", namespace=namespace)["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def load(self, name: str = "demo") -> AbstractContextManager[Load]:
        """On the node's port, as a client outside of the cluster has it."""
        self.container.reload()
        networks = self.container.attrs["NetworkSettings"]["Networks"]
        port = self.get("service", name, namespace=name)["spec"]["ports"][0]["nodePort"]
        return load(port, host=networks["bridge"]["IPAddress"])


@contextmanager
def local_cluster(folder: Path, share: Path) -> Iterator[Cluster]:
    """A cluster whose node has the share as /mnt/app."""
    folder.chmod(0o755)
    name = f"multicompute-{uuid.uuid4().hex[:6]}"
    try:
        yield Cluster(name, node.up(name, share, folder / "kubeconfig"), folder)
    finally:
        node.down(name)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    share = folder / "share"
    share.mkdir()
    share.chmod(0o755)
    with local_cluster(folder, share) as made:
        made.write_inventory(
            {
                # Of it, playbooks/clusters.yml takes no more than the release.
                "cloud": {"hosts": {"workstation": {}}},
                "builder": {"hosts": {"workstation": {}}},
                "shares": {"hosts": {"workstation": {"runtime_host_share_source": str(share)}}},
            },
            ansible_connection="local",
            ansible_python_interpreter=sys.executable,
            deployment_name="demo",
            app_version="0.0.1",
            wasm_runtime="wasmtime",
        )
        yield made
