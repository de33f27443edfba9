# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Status codes as the health checks of a load balancer write them: 200, 200,302 or 200-499."""

from __future__ import annotations

import re

LOWEST, HIGHEST = 200, 499
_PART = re.compile(r"\s*(\d{3})\s*(?:-\s*(\d{3})\s*)?", re.ASCII)


def parse_codes(text: str, option: str) -> list[range]:
    """The codes that `text` means. ValueError names the `option` that it comes from."""
    codes = []
    for part in text.split(","):
        match = _PART.fullmatch(part)
        low, high = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not LOWEST <= low <= high <= HIGHEST:
            raise ValueError(
                f"{option} is {text!r}: give status codes from {LOWEST} to {HIGHEST}, such as "
                "200, 200,302 or 200-499"
            )
        codes.append(range(low, high + 1))
    return codes


def fits(codes: list[range], status: int) -> bool:
    return any(status in some for some in codes)
