"""Command line: python -m local_cloud {check,start,stop,purge,status} --name N --port P --home DIR

Each command prints one line of JSON; an error is one message on stderr and exit status 1.
What only some commands need (Docker's client, MiniStack) is imported by these: it takes longer than
the answer.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from pathlib import Path
from typing import Any

from . import daemon, ports
from .settings import Cloud, LocalCloudError


def check(cloud: Cloud) -> dict[str, Any]:
    """Whether `start` would change anything; an error names what is in its way."""
    found = daemon.find(cloud)
    if found and found["port"] != cloud.port:
        raise LocalCloudError(
            f"it already runs on port {found['port']}: "
            "set local_cloud_port to that, or purge it first"
        )
    from . import containers

    containers.connect()
    if not found:
        require_port(cloud.port, "local_cloud_port")
    port = cloud.load_balancer_port
    if port and not (found and ports.listens(found["pid"], port)):
        require_port(port, "load_balancer_port")
    return {"changed": not found, "running": bool(found), "endpoint": cloud.endpoint}


def start(cloud: Cloud) -> dict[str, Any]:
    result = check(cloud)
    if result["changed"]:
        daemon.start(cloud)
    else:
        daemon.wait_healthy(cloud)
    return result | {"running": True}


def stop(cloud: Cloud) -> dict[str, Any]:
    """End the API. State stays, and containers go on running: `start` takes both up again."""
    return {"changed": daemon.stop(cloud)}


def purge(cloud: Cloud) -> dict[str, Any]:
    """Remove all that this cloud has made: containers, volumes, images, network, mounts, state."""
    from .purge import purge as run

    return {"changed": run(cloud)}


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
    from .server import serve as run

    run(cloud)
    return {}


COMMANDS = {run.__name__: run for run in (check, start, stop, purge, status, serve)}


def require_port(port: int, variable: str) -> None:
    if not ports.is_free(port):
        raise LocalCloudError(
            f"port {port} is in use by {ports.holder(port)}: "
            f"end that, or set {variable} to a free port"
        )


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
    except (LocalCloudError, OSError) as error:  # what an engine refuses is an OSError too
        print(f"local cloud {cloud.name}: {error}", file=sys.stderr)
        return 1
    return 0
