# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.multicompute.spin.plugins.module_utils._matcher import fits, parse_codes


@pytest.mark.parametrize(
    ("text", "good", "bad"),
    [
        ("200", [200], [201, 199]),
        ("200,302", [200, 302], [201, 301]),
        (" 200 , 300 - 302 ", [200, 300, 301, 302], [303, 299]),
        ("200-499", [200, 499], [199, 500, 100]),
    ],
)
def test_the_codes_that_a_text_means(text: str, good: list[int], bad: list[int]) -> None:
    codes = parse_codes(text, "app_health_codes")
    assert all(fits(codes, status) for status in good)
    assert not any(fits(codes, status) for status in bad)


@pytest.mark.parametrize(
    "text",
    ["", "20x", "2xx", "200,", "200-", "-200", "499-200", "200-599", "500", "199", "200;302"],
)
def test_what_is_no_codes(text: str) -> None:
    with pytest.raises(ValueError, match="^app_health_codes is .*: give status codes from 200 to"):
        parse_codes(text, "app_health_codes")
