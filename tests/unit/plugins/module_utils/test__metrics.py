# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What speaks against a release that has users. How it is counted: test_elb_metrics_info.py."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.multicompute.spin.plugins.module_utils._metrics import (
    against,
    since_change,
)

FORMER = (3000, 0)


def counts(requests: int, failures: int = 0, ms: float | None = None) -> dict[str, Any]:
    return {"requests": requests, "failures": failures, "response_ms": ms}


def verdict(
    release: tuple[int, int], former: tuple[int, int] = FORMER, before: tuple[int, int] = (0, 0)
) -> str:
    return against(counts(*release), counts(*before), counts(*former))


def test_it_says_how_many_failed_and_how_many_of_the_former_release() -> None:
    expected = "12 of 60 requests failed, where the former release failed 0 of 3000"
    assert verdict((60, 12)) == expected


@pytest.mark.parametrize(
    ("release", "former", "is_worse"),
    [
        ((0, 0), FORMER, False),
        ((60, 0), FORMER, False),
        # One in a hundred is nothing to take a release back for.
        ((100, 1), FORMER, False),
        ((100, 2), FORMER, True),
        ((99, 1), FORMER, True),
        # Nor is what the former one does as well, up to twice as much.
        ((100, 20), (1000, 100), False),
        ((100, 21), (1000, 100), True),
        # A former release without users is not a bad one.
        ((1, 1), (0, 0), True),
        ((1, 0), (0, 0), False),
        # It failed all.
        ((10, 10), (10, 10), False),
    ],
)
def test_failures_speak_against_it_beyond_those_of_the_former_release(
    release: tuple[int, int], former: tuple[int, int], is_worse: bool
) -> None:
    assert bool(verdict(release, former)) is is_worse


def test_what_came_before_the_users_is_not_its_fault() -> None:
    assert verdict((40, 40), before=(40, 40)) == ""
    assert verdict((140, 41), before=(40, 40)) == ""
    assert verdict((140, 42), before=(40, 40)).startswith("2 of 100 requests failed")


def test_a_target_group_that_was_not_counted_before_had_nothing() -> None:
    assert since_change(counts(5, 1), {}) == (5, 1)
    assert since_change(counts(5, 1), {"requests": None, "failures": None}) == (5, 1)


def test_the_oldest_minute_may_be_gone_from_the_second_look() -> None:
    assert since_change(counts(5, 1), counts(7, 2)) == (0, 0)


@pytest.mark.parametrize(
    ("ms", "former_ms", "slowdown", "is_slow"),
    [
        (40.0, 20.0, 2.0, False),
        (40.1, 20.0, 2.0, True),
        # Nobody notices 5 ms.
        (6.0, 1.0, 2.0, False),
        (6.1, 1.0, 2.0, True),
        (None, 20.0, 2.0, False),
        (40.1, None, 2.0, False),
        (4000.0, 20.0, None, False),
    ],
)
def test_a_slow_release_is_one_where_that_is_looked_at(
    ms: float | None, former_ms: float | None, slowdown: float | None, is_slow: bool
) -> None:
    found = against(counts(100, 0, ms), counts(0), counts(9, 0, former_ms), slowdown)
    assert bool(found) is is_slow


def test_it_says_how_slow_it_is() -> None:
    assert against(counts(100, 0, 50.5), counts(0), counts(9, 0, 20.0), 2.5) == (
        "an answer takes 50.5 ms (mean), where the former release takes 20.0 ms and 2.5 times that "
        "is the limit"
    )
