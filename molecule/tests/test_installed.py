# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine or container image that has not been booted: it can serve, and is nobody yet."""

from __future__ import annotations

from typing import Any

import pytest


def found(host: Any, pattern: str) -> list[str]:
    return host.run(f"ls -d {pattern} 2>/dev/null").stdout.split()  # type: ignore[no-any-return]


def test_what_serves_is_there(host: Any, runtimes: list[str]) -> None:
    assert runtimes, "no runtime is what its pinned archive held"
    for name in (*runtimes, "serve"):
        assert host.file(f"/usr/local/bin/{name}").mode == 0o755
    assert host.run(f"/usr/local/bin/{runtimes[0]} --version").rc == 0


def test_it_has_no_identity(host: Any) -> None:
    assert not host.file("/etc/machine-id").exists or host.file("/etc/machine-id").size == 0
    assert found(host, "/etc/ssh/ssh_host_*") == []
    assert found(host, "/var/lib/cloud/instance /var/lib/cloud/instances/*") == []
    assert found(host, "/etc/multicompute/*.env") == []


@pytest.mark.parametrize(
    "pattern",
    [
        "/root/.aws /home/*/.aws",
        "/root/.docker/config.json /home/*/.docker/config.json",
        "/root/.netrc /home/*/.netrc",
        "/root/.ssh/id_* /home/*/.ssh/id_*",
        "/root/.*_history /home/*/.*_history",
    ],
)
def test_it_has_no_credentials(host: Any, pattern: str) -> None:
    assert found(host, pattern) == []


@pytest.mark.parametrize(
    "pattern",
    [
        "/root/.cargo /home/*/.cargo",
        "/root/.cache/* /home/*/.cache/*",
        "/root/.ansible /home/*/.ansible",
        "/var/lib/apt/lists/*_Packages* /var/cache/apt/archives/*.deb /var/cache/dnf/*",
    ],
)
def test_it_has_no_caches_of_its_making(host: Any, pattern: str) -> None:
    assert found(host, pattern) == []


def test_nothing_of_it_can_be_written_by_anybody(writable: list[str]) -> None:
    assert writable == []
