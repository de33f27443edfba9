"""State that survives kill -9, and containers that belong to one cloud only.

MiniStack saves state on SIGTERM only, and at start and end removes every container that its port
once had: state and what still runs would both be gone after a crash, and a cloud that takes over
a port would remove another cloud's containers.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections.abc import Callable

import docker
from ministack import app
from ministack.core import container_reaper, persistence

from .. import containers
from ..settings import Cloud

SAVE_SECONDS = 1

logger = logging.getLogger("local_cloud")
_start_hooks: list[Callable[[], None]] = []
_stop_hooks: list[Callable[[], None]] = []
_digests: dict[str, bytes] = {}


def on_start(hook: Callable[[], None]) -> Callable[[], None]:
    """Run `hook()` on the server's event loop once state is loaded and containers are adopted."""
    _start_hooks.append(hook)
    return hook


def on_stop(hook: Callable[[], None]) -> Callable[[], None]:
    """Run `hook()` when the server has ended, before the last save."""
    _stop_hooks.append(hook)
    return hook


def apply(cloud: Cloud) -> None:
    # Ministack's identity is host and port; the port may be another cloud's tomorrow.
    container_reaper.instance_id = lambda: f"multicompute/{cloud.name}"
    app._stop_docker_containers = lambda include_unlabelled=False: None
    load = app._load_persisted_state

    def load_and_adopt() -> None:
        load()
        containers.adopt(docker.from_env(), cloud)
        for hook in _start_hooks:
            hook()
        app.local_cloud_saver = asyncio.get_running_loop().create_task(_save_often())

    app._load_persisted_state = load_and_adopt
    # One line per service and save would bury the rest of the log.
    logging.getLogger("persistence").setLevel(logging.WARNING)


def stop() -> None:
    """End what the patches have running, and save the last changes."""
    for hook in _stop_hooks:
        hook()
    save_changed()


async def _save_often() -> None:
    spent = 0.0
    while True:
        # State that takes long to write is written less often: a twentieth of the time at most.
        await asyncio.sleep(max(SAVE_SECONDS, 20 * spent))
        started = time.monotonic()
        save_changed()
        spent = time.monotonic() - started


def save_changed() -> None:
    """Write the state of each service that changed since the last time."""
    for service, get_state in app._build_persistence_save_dict().items():
        try:
            state = get_state()
            content = json.dumps(state, default=persistence._json_default)
        except RuntimeError:
            continue  # a worker thread changed it meanwhile: next time
        except TypeError as error:
            # A defect, but one that must not cost the other services their state.
            logger.error("the state of %s cannot be saved: %s", service, error)
            continue
        digest = hashlib.sha256(content.encode()).digest()
        if state is not None and _digests.get(service) != digest:
            persistence.save_state(service, state)
            _digests[service] = digest
