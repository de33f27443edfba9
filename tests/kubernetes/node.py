# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Kubernetes of one node in a container, where kind's own node image cannot be pulled.

    python -m tests.kubernetes.node up NAME SHARE KUBECONFIG
    python -m tests.kubernetes.node down NAME

Kubernetes is compiled once (16 minutes of CPU) and kept in ~/.cache/multicompute. SHARE is a folder
of this machine, which the node has as /mnt/app.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
import yaml
from docker.errors import NotFound
from docker.models.containers import Container

SOURCE = Path(__file__).parent / "cluster"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "multicompute"
SANDBOX = "multicompute/sandbox:latest"
NODE = "multicompute/kubernetes-node:latest"
CAP_SYS_RESOURCE = 24


def build(command: list[str], folder: Path, **environment: str) -> None:
    if not shutil.which("go"):
        raise SystemExit("Kubernetes is compiled with Go 1.24 or newer: install it (golang-go)")
    subprocess.run(
        command, cwd=folder, env=os.environ | {"CGO_ENABLED": "0"} | environment, check=True
    )


def kubernetes() -> Path:
    """The one binary of all components, kubectl too."""
    sources = [SOURCE / name for name in ("go.mod", "go.sum", "main.go")]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    version = re.search(r"k8s.io/kubernetes v(\S+)", sources[0].read_text())
    assert version
    binary = CACHE / f"kubernetes-{version[1]}-{digest}/kubernetes"
    if not binary.exists():
        print(f"compiling {binary}: once, some minutes", flush=True)
        binary.parent.mkdir(parents=True, exist_ok=True)
        part = binary.with_suffix(".part")
        flags = f"-s -w -X k8s.io/component-base/version.gitVersion=v{version[1]}"
        build(["go", "build", "-trimpath", f"-ldflags={flags}", f"-o={part}", "."], SOURCE)
        part.rename(binary)
    return binary


def privileges() -> list[str]:
    """What --privileged does, where the engine itself may not do all that it asks for."""
    capabilities = re.search(r"CapBnd:\s*(\w+)", Path("/proc/1/status").read_text())
    if capabilities and int(capabilities[1], 16) >> CAP_SYS_RESOURCE & 1:
        return ["--privileged"]
    return [
        "--cap-add=ALL",
        "--cap-drop=SYS_RESOURCE",
        "--device-cgroup-rule=a *:* rwm",
        *(f"--security-opt={name}=unconfined" for name in ("apparmor", "seccomp", "systempaths")),
    ]


def until(condition: Callable[[], Any], seconds: float, what: Callable[[], str]) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {seconds} s: {what()}")
        time.sleep(0.5)
    return value


def said(node: Container, *command: str) -> str | None:
    """What a command in the node says, or nothing if it fails there."""
    node.reload()
    if node.status != "running":
        raise SystemExit(f"the node ended:\n{node.logs(tail=100).decode()}")
    code, output = node.exec_run(list(command))
    return output.decode() if code == 0 else None


def log(node: Container) -> str:
    script = "tail -n 15 /var/log/*.log"
    return f"{node.logs(tail=20).decode()}\n{said(node, 'sh', '-c', script)}"


def kubeconfig(node: Container, name: str) -> dict[str, Any]:
    """Two contexts: of the cluster's administrator, and of a visitor who may do nothing."""
    node.reload()
    port = node.ports["6443/tcp"][0]["HostPort"]
    merged: dict[str, Any] = {"apiVersion": "v1", "kind": "Config", "current-context": ""}
    for user, context in (("admin", f"kind-{name}"), ("visitor", "visitor")):
        one = yaml.safe_load(said(node, "cat", f"/etc/kubernetes/{user}.conf") or "")
        one["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{port}"
        one["contexts"][0]["name"] = context
        for part in ("contexts", "users"):
            merged.setdefault(part, []).extend(one[part])
        merged["clusters"] = one["clusters"]
    return merged


def up(name: str, share: Path, config: Path) -> Container:
    engine = docker.from_env()
    binary = kubernetes()
    for target, tag in (("sandbox", SANDBOX), ("node", NODE)):
        engine.images.build(path=str(SOURCE), target=target, tag=tag, rm=True)
    # Not every one of its options has a name in docker-py.
    options = [
        f"--name={name}-control-plane",
        "--hostname=node",
        f"--volume={binary}:/usr/local/bin/kubernetes:ro",
        f"--volume={share}:/mnt/app",
        "--tmpfs=/run",
        "--publish=127.0.0.1::6443",
        "--cgroupns=private",
    ]
    command = ["docker", "run", "--detach", *options, *privileges(), NODE]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    node = engine.containers.get(f"{name}-control-plane")
    until(lambda: said(node, "cat", "/run/started") is not None, 120, lambda: log(node))
    load = subprocess.Popen(["docker", "save", SANDBOX], stdout=subprocess.PIPE)
    subprocess.run(
        ["docker", "exec", "-i", node.name, "ctr", "--namespace=k8s.io", "images", "import", "-"],
        stdin=load.stdout,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    ready = 'jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}'
    kubectl = ["kubernetes", "kubectl", "--kubeconfig=/etc/kubernetes/admin.conf", "get", "nodes"]
    until(lambda: said(node, *kubectl, "-o", ready) == "True", 120, lambda: log(node))
    config.write_text(yaml.safe_dump(kubeconfig(node, name)))
    return node


def down(name: str) -> None:
    try:
        docker.from_env().containers.get(f"{name}-control-plane").remove(force=True, v=True)
    except NotFound:
        return


if __name__ == "__main__":
    if sys.argv[1:2] == ["up"]:
        up(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
    else:
        down(sys.argv[2])
