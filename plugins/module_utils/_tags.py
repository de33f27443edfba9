# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `tags` and `purge_tags` mean, in one place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TAG_OPTIONS: dict[str, Any] = {
    "tags": {"type": "dict", "aliases": ["resource_tags"]},
    "purge_tags": {"type": "bool", "default": True},
}


def wanted_tags(
    current: Mapping[str, str], tags: Mapping[str, Any] | None, purge: bool
) -> dict[str, str]:
    """The tags after a run; those that AWS itself sets always stay."""
    if tags is None:
        return dict(current)
    kept = {key: value for key, value in current.items() if not purge or key.startswith("aws:")}
    return kept | {key: str(value) for key, value in tags.items()}
