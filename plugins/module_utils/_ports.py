# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which release an EC2 instance serves on which port: its tags `multicompute:<port>` say so.

runtime/follow-tags does what they say, on the instance, where this collection is not installed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_TAG = re.compile(r"multicompute:([1-9][0-9]{0,4})")


def port_tag(port: int) -> str:
    return f"multicompute:{port}"


def releases_by_port(tags: Mapping[str, str]) -> dict[int, str]:
    """The releases among all `tags` of an instance; other tags say nothing."""
    return {
        int(match[1]): release for key, release in tags.items() if (match := _TAG.fullmatch(key))
    }
