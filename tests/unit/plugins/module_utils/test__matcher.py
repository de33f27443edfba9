# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.multicompute.spin.plugins.module_utils._matcher import matches, parse


@pytest.mark.parametrize(
    ("matcher", "good", "bad"),
    [
        ("200", [200], [199, 201, 404]),
        ("200,302", [200, 302], [201, 301]),
        ("200-499", [200, 302, 499], [199, 500]),
        ("200-299,404", [200, 299, 404], [300, 403]),
    ],
)
def test_codes_and_ranges(matcher: str, good: list[int], bad: list[int]) -> None:
    assert all(matches(matcher, status) for status in good)
    assert not any(matches(matcher, status) for status in bad)


@pytest.mark.parametrize("text", ["", "2xx", "20", "2000", "200,", "200-", "299-200", " 200"])
def test_what_is_no_matcher(text: str) -> None:
    with pytest.raises(ValueError, match="is no status code"):
        parse(text)
