# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run by Packer on what is about to become an image."""

from __future__ import annotations

from typing import Any


def test_the_runtime_runs(host: Any) -> None:
    assert host.run("wasmtime --version || spin --version").rc == 0


def test_it_has_no_identity_of_its_own(host: Any) -> None:
    assert host.run("test -s /etc/machine-id").rc != 0
    assert host.run("ls /etc/ssh/ssh_host_*").rc != 0
    assert host.run("ls /var/lib/cloud/instance").rc != 0
