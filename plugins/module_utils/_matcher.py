# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Status codes as a load balancer's matcher has them: C(200), C(200,302), C(200-499)."""

from __future__ import annotations

import re

_MATCHER = re.compile(r"(\d{3})(?:-(\d{3}))?", re.ASCII)


def parse(matcher: str) -> list[range]:
    """The ranges of a matcher; a ValueError if it is none."""
    ranges = []
    for part in matcher.split(","):
        match = _MATCHER.fullmatch(part)
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise ValueError(f"{part!r} is no status code and no range of them")
        ranges.append(range(int(match[1]), int(match[2] or match[1]) + 1))
    return ranges


def matches(matcher: str, status: int) -> bool:
    return any(status in codes for codes in parse(matcher))
