# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that the role has left."""

from __future__ import annotations

from typing import Any


def test_no_unit_is_left(host: Any) -> None:
    assert "multicompute" not in host.check_output("systemctl list-units --all --plain")
    assert "multicompute" not in host.check_output("systemctl list-unit-files")


def test_no_user_or_process_is_left(host: Any) -> None:
    assert not host.user("multicompute").exists
    for name in ("serve", "spin", "wasmtime"):
        assert host.run(f"command -v {name}").rc != 0
        assert host.run(f"pgrep -x {name}").rc != 0


def test_no_file_is_left(host: Any) -> None:
    assert not host.mount_point("/mnt/app").exists
    places = "/etc /opt /usr/local /var/lib /home /root /srv /mnt"
    assert host.run(f"find {places} -xdev -iname '*multicompute*'").stdout == ""
    assert host.run("ls -d /mnt/app").rc != 0
