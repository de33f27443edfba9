"""The daemon: MiniStack, patched in memory, on loopback and on the cloud's own network."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
from importlib.metadata import version
from typing import Any

from . import containers, patches
from .daemon import hold
from .settings import Cloud, LocalCloudError

MINISTACK = "1.5.33"


def serve(cloud: Cloud) -> None:
    if (found := version("ministack")) != MINISTACK:
        # The patches reach into its internals, so another version is not "nearly right".
        raise LocalCloudError(
            f"ministack {MINISTACK} is needed, {found} is installed: `make setup`"
        )
    with hold(cloud):
        cloud.export()
        gateway = containers.ensure_network(containers.connect(), cloud)
        containers.attach(cloud, gateway)
        app = load_app(cloud)
        raise_file_limit()
        asyncio.run(run(app, [f"127.0.0.1:{cloud.port}", f"{gateway}:{cloud.port}"]))


def load_app(cloud: Cloud) -> Any:
    from ministack import app as ministack  # reads the environment that `export` set

    patches.apply_all(cloud)
    return ministack.app


async def run(app: Any, addresses: list[str]) -> None:
    from hypercorn.asyncio import serve as hypercorn_serve
    from hypercorn.config import Config

    from .patches import lifecycle

    config = Config()
    config.bind = addresses
    config.keep_alive_timeout = 75
    config.accesslog = None
    await hypercorn_serve(app, config)
    lifecycle.stop()
    # All is saved, and threads that wait for Docker could take minutes to end.
    logging.shutdown()
    os._exit(0)


def raise_file_limit() -> None:
    _unused, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
