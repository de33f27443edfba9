# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a release comes up, from whatever an earlier run left."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.multicompute.spin.plugins.filter.instance_ports import instance_ports

OLD, NEW = "i-0000000000000000a", "i-0000000000000000b"
PORTS = [8000, 8001, 8002, 8003]


def instance(id_: str = OLD, hour: int = 1, **releases: str) -> dict[str, Any]:
    """One with the given releases, by p<port>."""
    tags = {f"multicompute:{port[1:]}": release for port, release in releases.items()}
    return {
        "instance_id": id_,
        "launch_time": f"2026-01-02T0{hour}:00:00+00:00",
        "tags": {"Name": "demo", "multicompute:configuration": "8000"} | tags,
    }


def colour(*targets: tuple[int, str], id_: str = OLD) -> dict[str, Any]:
    found = [{"id": id_, "port": port, "state": state, "reason": ""} for port, state in targets]
    return {"targets": found}


NONE = colour()


def choose(
    *instances: dict[str, Any],
    blue: dict[str, Any] = NONE,
    green: dict[str, Any] = NONE,
    active: str | None = "blue",
    release: str = "1.1.0",
) -> dict[str, Any]:
    colours = {"blue": blue, "green": green}
    return instance_ports(list(instances), colours, active=active, ports=PORTS, release=release)


def at(port: int, id_: str = OLD) -> dict[str, Any]:
    return {"id": id_, "port": port}


def test_the_next_release_comes_up_on_a_port_that_no_tag_names() -> None:
    assert choose(instance(p8000="1.0.0"), blue=colour((8000, "healthy"))) == {
        "fits": False,
        "target": at(8001),
        "tag": True,
        "stale": [],
        "replaced": [],
    }


@pytest.mark.parametrize(
    ("used", "standby", "port"),
    [(8000, 8003, 8001), (8001, 8000, 8002), (8002, 8001, 8003), (8003, 8002, 8000)],
)
def test_ports_take_turns_and_a_former_standby_ends(used: int, standby: int, port: int) -> None:
    tagged = instance(**{f"p{used}": "1.0.0", f"p{standby}": "0.9.0"})
    blue, green = colour((used, "healthy")), colour((standby, "healthy"))
    chosen = choose(tagged, blue=blue, green=green)
    assert (chosen["target"], chosen["tag"]) == (at(port), True)
    assert chosen["stale"] == [f"multicompute:{standby}"]


def test_the_active_colour_decides_which_port_has_the_users() -> None:
    tagged = instance(p8000="1.0.0", p8001="0.9.0")
    blue, green = colour((8000, "healthy")), colour((8001, "healthy"))
    chosen = choose(tagged, blue=blue, green=green, active="green")
    assert (chosen["target"], chosen["stale"]) == (at(8002), ["multicompute:8000"])


@pytest.mark.parametrize("port", PORTS)
def test_a_release_that_serves_well_stays_where_it_is(port: int) -> None:
    tagged = instance(**{f"p{port}": "1.1.0"})
    assert choose(tagged, blue=colour((port, "healthy"))) == {
        "fits": True,
        "target": at(port),
        "tag": False,
        "stale": [],
        "replaced": [],
    }


def test_what_stands_by_beside_a_release_that_serves_well_stays() -> None:
    tagged = instance(p8000="1.0.0", p8001="1.1.0", p8002="0.9.0")
    green = colour((8001, "healthy"))
    chosen = choose(tagged, blue=colour((8000, "healthy")), green=green, active="green")
    assert chosen["fits"] and chosen["stale"] == []


@pytest.mark.parametrize("state", ["unhealthy", "initial", "draining"])
def test_a_release_that_serves_badly_comes_up_anew(state: str) -> None:
    chosen = choose(instance(p8000="1.1.0"), blue=colour((8000, state)))
    assert (chosen["fits"], chosen["target"], chosen["tag"]) == (False, at(8001), True)
    # Whoever is served there is, until the other port is ready.
    assert chosen["stale"] == []


def test_a_standby_that_is_ready_is_taken_as_it_is() -> None:
    tagged = instance(p8001="1.0.0", p8002="1.1.0")
    blue, green = colour((8001, "healthy")), colour((8002, "healthy"))
    chosen = choose(tagged, blue=blue, green=green, release="1.1.0")
    assert chosen == {
        "fits": False,
        "target": at(8002),
        "tag": False,
        "stale": [],
        "replaced": [],
    }


def test_a_standby_that_is_not_ready_is_replaced() -> None:
    tagged = instance(p8001="1.0.0", p8002="1.1.0")
    blue, green = colour((8001, "healthy")), colour((8002, "unhealthy"))
    chosen = choose(tagged, blue=blue, green=green)
    assert (chosen["target"], chosen["tag"]) == (at(8003), True)
    assert chosen["stale"] == ["multicompute:8002"]


def test_tags_of_a_standby_say_what_it_serves_not_its_health() -> None:
    tagged = instance(p8001="1.0.0", p8002="0.9.0")
    blue, green = colour((8001, "healthy")), colour((8002, "healthy"))
    assert choose(tagged, blue=blue, green=green)["target"] == at(8003)


def test_a_roll_that_was_interrupted_leaves_nothing_behind() -> None:
    # It had tagged the port, and registered none.
    chosen = choose(instance(p8000="1.0.0", p8001="1.1.0"), blue=colour((8000, "healthy")))
    assert (chosen["target"], chosen["tag"]) == (at(8002), True)
    assert chosen["stale"] == ["multicompute:8001"]


def test_of_four_tagged_ports_one_is_taken_that_neither_colour_has() -> None:
    tagged = instance(p8000="0.9.0", p8001="1.0.0", p8002="0.8.0", p8003="0.7.0")
    blue, green = colour((8001, "healthy")), colour((8000, "healthy"))
    chosen = choose(tagged, blue=blue, green=green)
    # On 8000 the former standby would pass for the release.
    assert (chosen["target"], chosen["tag"]) == (at(8002), True)
    assert chosen["stale"] == ["multicompute:8000", "multicompute:8003"]


def test_of_four_tagged_ports_none_is_taken_that_has_users() -> None:
    tagged = instance(p8000="0.9.0", p8001="0.8.0", p8002="0.7.0", p8003="1.0.0")
    blue = colour((8000, "healthy"), (8001, "healthy"), (8002, "draining"))
    chosen = choose(tagged, blue=blue, green=colour((8003, "healthy")))
    assert (chosen["target"], chosen["tag"], chosen["stale"]) == (at(8003), True, [])


def test_a_port_that_has_users_is_not_free_for_want_of_a_tag() -> None:
    tagged = instance(p8002="0.9.0", p8003="1.0.0")
    blue = colour((8000, "healthy"), (8003, "healthy"))
    assert choose(tagged, blue=blue)["target"] == at(8001)


def test_an_instance_that_nobody_knows_yet_serves_where_its_launch_says() -> None:
    for active in (None, "blue"):
        chosen = choose(instance(p8002="1.1.0"), active=active)
        assert (chosen["target"], chosen["tag"], chosen["fits"]) == (at(8002), False, False)


def test_a_new_instance_that_replaces_one_takes_over_from_it() -> None:
    both = instance(p8001="1.0.0"), instance(NEW, 2, p8000="1.1.0")
    for instances in (both, both[::-1]):
        chosen = choose(*instances, blue=colour((8001, "healthy")), green=colour((8002, "healthy")))
        assert chosen == {
            "fits": False,
            "target": at(8000, NEW),
            "tag": False,
            "stale": [],
            "replaced": [OLD],
        }


def test_a_new_instance_with_the_same_release_takes_over_as_well() -> None:
    chosen = choose(
        instance(p8000="1.1.0"), instance(NEW, 2, p8000="1.1.0"), blue=colour((8000, "healthy"))
    )
    assert (chosen["fits"], chosen["target"]) == (False, at(8000, NEW))
    assert chosen["replaced"] == [OLD]


def test_a_replacement_that_serves_already_fits() -> None:
    chosen = choose(
        instance(p8000="1.0.0"),
        instance(NEW, 2, p8000="1.1.0"),
        blue=colour((8000, "healthy"), id_=NEW),
    )
    assert (chosen["fits"], chosen["target"], chosen["replaced"]) == (True, at(8000, NEW), [OLD])


def test_where_nobody_has_users_any_colour_that_is_ready_is_taken() -> None:
    tagged = instance(p8000="1.0.0", p8001="1.1.0")
    blue, green = colour((8000, "healthy")), colour((8001, "healthy"))
    chosen = choose(tagged, blue=blue, green=green, active=None)
    assert (chosen["fits"], chosen["target"], chosen["tag"]) == (False, at(8001), False)
    assert chosen["stale"] == ["multicompute:8000"]


def test_a_prediction_has_no_instance_yet() -> None:
    for active in (None, "blue"):
        assert choose(active=active) == {
            "fits": False,
            "target": at(8000, "i-00000000000000000"),
            "tag": False,
            "stale": [],
            "replaced": [],
        }
