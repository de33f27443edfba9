# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from ansible_collections.multicompute.spin.plugins.filter.listener_weights import listener_weights
from hypothesis import given
from hypothesis import strategies as st


def primitive(blue: int | None = None, green: int | None = None) -> dict[str, Any]:
    """As wasm_release_info returns it."""
    weights = {"blue": blue, "green": green}
    having = {colour: weight for colour, weight in weights.items() if weight is not None}
    return {
        "active": max(having, key=lambda colour: having[colour], default=None),
        "weight": sum(having.values()) if having else None,
        "colours": {colour: {"weight": weight} for colour, weight in weights.items()},
    }


def weigh(found: Mapping[str, dict[str, Any]], **options: Any) -> dict[str, int | str]:
    """Weights by target group; what is to go is absent."""
    entries = listener_weights(dict(found), "demo", **options)
    assert all(set(entry) - {"target_group_name"} in ({"weight"}, {"state"}) for entry in entries)
    weights = {
        entry["target_group_name"]: entry.get("weight", entry.get("state")) for entry in entries
    }
    assert len(weights) == len(entries)
    return weights


EVEN = {"ec2": primitive(1), "ecs": primitive(None, 1), "lambda": primitive(1)}
INTERRUPTED = {"ec2": primitive(950, 50), "ecs": primitive(None, 1000), "lambda": primitive(1000)}


def test_each_active_colour_gets_what_its_primitive_has() -> None:
    found = {"ec2": primitive(3), "ecs": primitive(None, 0), "lambda": primitive()}
    assert weigh(found) == {
        "demo-ec2-blue": 3,
        "demo-ec2-green": "absent",
        "demo-ecs-green": 0,
        "demo-ecs-blue": "absent",
    }


def test_weights_without_a_canary_stay_as_they_are() -> None:
    found = {"ec2": primitive(600), "ecs": primitive(400)}
    weights = weigh(found)
    assert (weights["demo-ec2-blue"], weights["demo-ecs-blue"]) == (600, 400)


def test_a_canary_gets_a_part_of_what_its_primitive_gets() -> None:
    assert weigh(EVEN, canary="ecs", percent=5) == {
        "demo-ec2-blue": 999,
        "demo-ec2-green": "absent",
        "demo-ecs-green": 949,
        "demo-ecs-blue": 50,
        "demo-lambda-blue": 999,
        "demo-lambda-green": "absent",
    }


@pytest.mark.parametrize(("percent", "part"), [(1, 10), (5, 50), (49, 490)])
def test_the_part_is_the_given_per_cent(percent: int, part: int) -> None:
    weights = weigh(EVEN, canary="ec2", percent=percent)
    assert (weights["demo-ec2-blue"], weights["demo-ec2-green"]) == (999 - part, part)


def test_a_canary_gets_five_per_cent_if_nothing_is_said() -> None:
    assert weigh(EVEN, canary="ec2") == weigh(EVEN, canary="ec2", percent=5)


def test_a_primitive_without_users_has_none_for_a_canary() -> None:
    weights = weigh({"ec2": primitive(0), "ecs": primitive(1)}, canary="ec2")
    assert (weights["demo-ec2-blue"], weights["demo-ec2-green"]) == (0, "absent")


@pytest.mark.parametrize("weight", [1, 2])
def test_a_canary_never_gets_as_much_as_the_active_colour(weight: int) -> None:
    found = {"ec2": primitive(None, weight), "ecs": primitive(999)}
    weights = weigh(found, canary="ec2", percent=49)
    assert (weights["demo-ec2-green"], weights["demo-ec2-blue"]) == (2, 1)
    assert weights["demo-ecs-blue"] == 999


def test_without_users_there_is_nothing_to_share() -> None:
    assert weigh({"ec2": primitive()}, canary="ec2") == {}
    assert weigh({}) == {}
    everything_at_rest = weigh({"ec2": primitive(0)}, canary="ec2")
    assert everything_at_rest == {"demo-ec2-blue": 0, "demo-ec2-green": "absent"}


def test_what_an_interrupted_canary_raised_is_lowered_again() -> None:
    assert weigh(INTERRUPTED) == {
        "demo-ec2-blue": 1,
        "demo-ec2-green": "absent",
        "demo-ecs-green": 1,
        "demo-ecs-blue": "absent",
        "demo-lambda-blue": 1,
        "demo-lambda-green": "absent",
    }


def test_an_interrupted_canary_is_begun_anew() -> None:
    assert weigh(INTERRUPTED, canary="ec2") == weigh(EVEN, canary="ec2")


def test_an_interrupted_canary_beside_one_without_users() -> None:
    weights = weigh(INTERRUPTED | {"ecs": primitive(None, 0)})
    assert [weights[f"demo-{one}"] for one in ("ec2-blue", "ecs-green", "lambda-blue")] == [1, 0, 1]


def test_given_weights_are_taken_instead() -> None:
    # An extra variable may be text.
    for found in (EVEN, INTERRUPTED):
        assert weigh(found, weights={"ec2": "90", "lambda": 10}) == {
            "demo-ec2-blue": 90,
            "demo-ec2-green": "absent",
            "demo-ecs-green": 0,
            "demo-ecs-blue": "absent",
            "demo-lambda-blue": 10,
            "demo-lambda-green": "absent",
        }


def test_a_primitive_that_is_not_on_the_listener_gets_no_weight() -> None:
    assert weigh({"ec2": primitive()}, weights={"ec2": 5}) == {}


@given(
    st.dictionaries(st.sampled_from("abcde"), st.integers(0, 333), min_size=1),
    st.integers(1, 49),
    st.data(),
)
def test_a_canary_and_its_end_keep_proportions_and_active_colours(
    weights: dict[str, int], percent: int, data: st.DataObject
) -> None:
    found = {name: primitive(None, weight) for name, weight in weights.items()}
    canary = data.draw(st.sampled_from(sorted(weights)))
    raised = weigh(found, canary=canary, percent=percent)
    numbers = {name: weight for name, weight in raised.items() if isinstance(weight, int)}
    assert all(0 <= weight <= 999 for weight in numbers.values())

    during = {
        name: primitive(numbers.get(f"demo-{name}-blue"), numbers.get(f"demo-{name}-green"))
        for name in weights
    }
    assert {one["active"] for one in during.values()} == {"green"}
    after = weigh(during)
    for name, weight in weights.items():
        assert after[f"demo-{name}-blue"] == "absent"
        for other in weights:
            assert during[name]["weight"] * weights[other] == during[other]["weight"] * weight
            end, other_end = (int(after[f"demo-{one}-green"]) for one in (name, other))
            assert end * weights[other] == other_end * weight
