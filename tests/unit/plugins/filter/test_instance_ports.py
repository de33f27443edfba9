# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a release comes up, from whatever an earlier run left."""

from __future__ import annotations

from typing import Any

from ansible_collections.multicompute.spin.plugins.filter.instance_ports import instance_ports

OLD, NEW = "i-0000000000000000a", "i-0000000000000000b"


def instance(id_: str = OLD, hour: int = 1, **releases: str) -> dict[str, Any]:
    """One with the given releases, by p<port>."""
    tags = {f"multicompute:{port[1:]}": release for port, release in releases.items()}
    return {
        "instance_id": id_,
        "launch_time": f"2026-01-02T0{hour}:00:00+00:00",
        "tags": {"Name": "demo", "multicompute:configuration": "8000"} | tags,
    }


def health(*targets: tuple[int, str], id_: str = OLD) -> list[dict[str, Any]]:
    return [
        {"target": {"id": id_, "port": port}, "target_health": {"state": state}}
        for port, state in targets
    ]


def choose(
    instances: list[dict[str, Any]], targets: list[dict[str, Any]], release: str = "1.1.0"
) -> dict[str, Any]:
    return instance_ports(instances, targets, ports=[8000, 8001], release=release)


def at(port: int, id_: str = OLD) -> dict[str, Any]:
    return {"id": id_, "port": port}


def test_the_next_release_comes_up_on_the_other_port() -> None:
    assert choose([instance(p8000="1.0.0")], health((8000, "healthy"))) == {
        "target": at(8001),
        "former": [at(8000)],
        "busy": False,
        "tag": True,
        "unused": ["multicompute:8000"],
    }
    back = choose([instance(p8001="1.0.0")], health((8001, "healthy")))
    assert (back["target"], back["former"]) == (at(8000), [at(8001)])


def test_the_same_release_stays_where_it_is() -> None:
    for port in (8000, 8001):
        chosen = choose([instance(**{f"p{port}": "1.1.0"})], health((port, "healthy")))
        assert chosen == {
            "target": at(port),
            "former": [],
            "busy": False,
            "tag": False,
            "unused": [],
        }


def test_a_new_instance_serves_where_its_launch_says() -> None:
    chosen = choose([instance(p8000="1.1.0")], [])
    assert (chosen["target"], chosen["former"], chosen["tag"]) == (at(8000), [], False)


def test_an_instance_that_replaces_another_takes_over_from_all_its_ports() -> None:
    both = [instance(p8001="1.0.0"), instance(NEW, 2, p8000="1.1.0")]
    chosen = choose(both, health((8001, "healthy")))
    assert (chosen["target"], chosen["former"]) == (at(8000, NEW), [at(8001)])
    assert not chosen["tag"] and not chosen["unused"]


def test_a_roll_that_was_interrupted_goes_on() -> None:
    tagged = instance(p8000="1.0.0", p8001="1.1.0")
    for targets in (
        health((8000, "healthy")),
        health((8000, "healthy"), (8001, "initial")),
        health((8000, "healthy"), (8001, "healthy")),
    ):
        chosen = choose([tagged], targets)
        assert (chosen["target"], chosen["former"]) == (at(8001), [at(8000)])
        assert not chosen["tag"] and not chosen["busy"]
        assert chosen["unused"] == ["multicompute:8000"]


def test_going_back_finds_the_former_port_as_it_was() -> None:
    tagged = instance(p8000="1.0.0", p8001="1.1.0")
    targets = health((8000, "healthy"), (8001, "unhealthy"))
    chosen = choose([tagged], targets, release="1.0.0")
    assert chosen == {
        "target": at(8000),
        "former": [],
        "busy": False,
        "tag": False,
        "unused": ["multicompute:8001"],
    }


def test_a_port_that_still_answers_its_last_requests_is_waited_for() -> None:
    tagged = instance(p8000="1.0.0", p8001="1.1.0")
    chosen = choose([tagged], health((8000, "draining"), (8001, "healthy")), release="1.2.0")
    assert (chosen["target"], chosen["former"]) == (at(8000), [at(8001)])
    assert chosen["busy"] and chosen["tag"]


def test_of_two_ports_with_other_releases_the_worse_one_is_taken() -> None:
    tagged = instance(p8000="1.0.0", p8001="1.1.0")
    targets = health((8000, "healthy"), (8001, "unhealthy"))
    chosen = choose([tagged], targets, release="1.2.0")
    assert (chosen["target"], chosen["former"], chosen["busy"]) == (at(8001), [at(8000)], True)


def test_a_prediction_has_no_instance_yet() -> None:
    chosen = choose([], [])
    assert chosen["target"] == at(8000, "i-00000000000000000")
    assert not chosen["tag"]
