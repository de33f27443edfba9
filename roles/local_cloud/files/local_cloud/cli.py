"""Command line: python -m local_cloud {check,start,stop,purge,status} --name N --port P --home DIR

Each command prints one line of JSON; an error is one message on stderr and exit status 1.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import docker

from . import containers, daemon, ports
from .settings import Cloud, LocalCloudError


def check(cloud: Cloud) -> dict[str, Any]:
    """Whether `start` would change anything; an error names what is in its way."""
    found = daemon.find(cloud)
    if found and found["port"] != cloud.port:
        raise LocalCloudError(
            f"it already runs on port {found['port']}: "
            "set local_cloud_port to that, or purge it first"
        )
    docker_client()
    if not found:
        require_port(cloud.port, "local_cloud_port")
    port = cloud.load_balancer_port
    if port and not (found and ports.owner(port) == found["pid"]):
        require_port(port, "load_balancer_port")
    return {"changed": not found, "endpoint": cloud.endpoint}


def start(cloud: Cloud) -> dict[str, Any]:
    result = check(cloud)
    if result["changed"]:
        daemon.start(cloud)
    else:
        daemon.wait_healthy(cloud)
    return result


def stop(cloud: Cloud) -> dict[str, Any]:
    """End the API. State stays, and containers go on running: `start` takes both up again."""
    return {"changed": daemon.stop(cloud)}


def purge(cloud: Cloud) -> dict[str, Any]:
    """Remove all that this cloud has made: containers, volumes, images, network, mounts, state."""
    existed = cloud.home.exists()
    changed = daemon.stop(cloud)
    try:
        client = docker_client()
    except LocalCloudError:
        if existed:
            raise
        return {"changed": False}  # nothing was ever started here
    network = containers.find_network(client, cloud)
    owned = containers.of_cloud(client, cloud)
    containers.remove(owned)
    label = {"label": f"{containers.LABEL}={cloud.name}"}
    volumes = client.volumes.list(filters=label)
    for volume in volumes:
        volume.remove()
    images = client.images.list(filters=label)
    for image in images:
        client.images.remove(image.id, force=True)
    if network:
        network.remove()
    remove_folder(cloud.home)
    return {"changed": bool(changed or owned or volumes or images or network or existed)}


def status(cloud: Cloud) -> dict[str, Any]:
    found = daemon.find(cloud)
    return {
        "running": bool(found and daemon.healthy(cloud)),
        "exists": cloud.home.exists(),
        "pid": found["pid"] if found else None,
        "name": cloud.name,
        "endpoint": cloud.endpoint,
        "home": str(cloud.home),
    }


def serve(cloud: Cloud) -> dict[str, Any]:
    """The daemon itself, in the foreground."""
    from .server import serve as run  # imports MiniStack: only here

    run(cloud)
    return {}


COMMANDS = {run.__name__: run for run in (check, start, stop, purge, status, serve)}


def require_port(port: int, variable: str) -> None:
    if not ports.is_free(port):
        raise LocalCloudError(
            f"port {port} is in use by {ports.holder(port)}: "
            f"end that, or set {variable} to a free port"
        )


def docker_client() -> docker.DockerClient:
    try:
        client = docker.from_env()
        client.ping()
    except (docker.errors.DockerException, OSError) as error:
        where = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
        raise LocalCloudError(
            f"Docker is not reachable at {where} ({error}): start it (`make setup` does), "
            "or point DOCKER_HOST at a Docker or Podman socket"
        ) from error
    return client


def remove_folder(folder: Path) -> None:
    """Remove a folder, but nothing that is only mounted below it."""
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for mount in sorted(mounts, reverse=True):  # the deepest first
        if mount.startswith(f"{folder}/"):
            subprocess.run(["umount", mount], check=True)
    if folder.exists():
        shutil.rmtree(folder)


def parse(arguments: list[str] | None) -> tuple[str, Cloud]:
    parser = argparse.ArgumentParser(prog="local_cloud", description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--name", default="multicompute")
    parser.add_argument("--port", type=int, default=4566)
    parser.add_argument("--home", type=Path, help="default: ~/.local/state/multicompute/<name>")
    parser.add_argument("--rie", type=Path, help="folder of AWS's runtime interface emulator")
    parser.add_argument("--load-balancer-port", type=int, help="must be free for a listener")
    given = parser.parse_args(arguments)
    home = given.home or Path.home() / ".local/state/multicompute" / given.name
    return given.command, Cloud(
        name=given.name,
        port=given.port,
        home=home.resolve(),
        rie=given.rie.resolve() if given.rie else None,
        load_balancer_port=given.load_balancer_port,
    )


def main(arguments: list[str] | None = None) -> int:
    command, cloud = parse(arguments)
    if platform.system() != "Linux":
        # The host must reach containers by their addresses on the bridge network.
        print("the local cloud runs on Linux only", file=sys.stderr)
        return 1
    try:
        print(json.dumps(COMMANDS[command](cloud)))
    except (LocalCloudError, docker.errors.DockerException, OSError) as error:
        print(f"local cloud {cloud.name}: {error}", file=sys.stderr)
        return 1
    return 0
