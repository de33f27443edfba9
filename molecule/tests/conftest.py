# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of any host that the role runtime_host has been at: `pytest molecule/tests --hosts=...`.

What is expected is read from the host's own settings, so they run on a fleet as on a container.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--state",
        choices=["present", "installed", "absent"],
        default="present",
        help="What the host is to be: serving, an image that is not booted yet, or as it was",
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    name = collection_path.name
    if name.startswith("test_") and name != f"test_{config.getoption('--state')}.py":
        return True
    return None


@pytest.fixture
def writable(host: Any) -> list[str]:
    """What anybody may write of that which the role installs."""
    places = "/etc/multicompute /etc/systemd/system /usr/local /opt/multicompute"
    found = host.run(f"find {places} -xdev ! -type l -perm -o+w 2>/dev/null")
    return found.stdout.split()  # type: ignore[no-any-return]


@pytest.fixture
def runtimes(host: Any) -> list[str]:
    """Runtimes that are what their pinned archives held."""
    intact = []
    for name in ("spin", "wasmtime"):
        origin = host.file(f"/usr/local/bin/{name}.origin")
        if origin.exists:
            recorded = json.loads(origin.content_string)["sha256"]
            if host.file(f"/usr/local/bin/{name}").sha256sum == recorded:
                intact.append(name)
    return intact
