# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.multicompute.spin.plugins.filter.canary_verdict import canary_verdict


def probe(failed: dict[str, int] | None = None, **p50: float) -> dict[str, Any]:
    return {
        "served_by": {name: {"requests": 50, "p50_ms": value} for name, value in p50.items()},
        "failed_by": failed or {},
    }


BEFORE = probe(canary=4.0, ec2=1.0, ecs=1.0)


def against(after: dict[str, Any], before: dict[str, Any] = BEFORE, **options: Any) -> str:
    given = {"slowdown": 2, "slack_ms": 1} | options
    return str(canary_verdict(after, "canary", before=before, **given)["against"])


def test_a_release_that_is_as_good_goes_on() -> None:
    verdict = canary_verdict(
        probe(canary=4.4, ec2=1.0, ecs=1.0), "canary", before=BEFORE, slowdown=2
    )
    assert verdict == {
        "requests": 50,
        "error_rate": 0.0,
        "others_error_rate": 0.0,
        "p50_ms": 4.4,
        "expected_p50_ms": 4.0,
        "against": "",
    }


@pytest.mark.parametrize("name", ["canary", "unknown"])
def test_errors_speak_against_it(name: str) -> None:
    said = against(probe({name: 50}, canary=4.0, ec2=1.0, ecs=1.0))
    assert said == "canary failed 50.0% of its requests, the others 0.0% of theirs"


def test_errors_of_all_do_not() -> None:
    assert against(probe({"canary": 1, "ec2": 1, "ecs": 1}, canary=4.0, ec2=1.0, ecs=1.0)) == ""


def test_a_canary_that_does_not_answer_at_all_is_no_good_one() -> None:
    assert "got no requests" in against(probe(ec2=1.0, ecs=1.0))
    assert "failed 100.0%" in against(probe({"unknown": 9}, ec2=1.0, ecs=1.0))


def test_slower_than_it_was_speaks_against_it() -> None:
    assert "answers in 8.5 ms (median), where 4.0 ms were expected" in against(
        probe(canary=8.5, ec2=1.0, ecs=1.0)
    )
    assert against(probe(canary=7.9, ec2=1.0, ecs=1.0)) == ""


def test_a_machine_that_is_busy_for_all_is_no_fault_of_the_release() -> None:
    assert against(probe(canary=12.0, ec2=3.0, ecs=3.0)) == ""
    assert against(probe(canary=12.0, ec2=1.0, ecs=1.0)) != ""


def test_small_differences_are_none() -> None:
    quick = probe(canary=0.2, ec2=0.2)
    assert against(probe(canary=1.1, ec2=0.2), quick) == ""
    assert against(probe(canary=1.3, ec2=0.2), quick) != ""


def test_a_canary_without_others_is_compared_with_itself() -> None:
    assert against(probe(canary=5.0), probe(canary=4.0)) == ""
    assert against(probe(canary=9.0), probe(canary=4.0)) != ""
