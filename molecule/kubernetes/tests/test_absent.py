# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster that the role has left."""

from __future__ import annotations

from typing import Any


def test_no_namespace_or_volume_is_left(core: Any) -> None:
    names = [namespace.metadata.name for namespace in core.list_namespace().items]
    assert "molecule" not in names
    assert core.list_persistent_volume().items == []
