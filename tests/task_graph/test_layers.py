# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All layers as a graph and otherwise, in one local cloud."""

from __future__ import annotations

import json
import re
import threading
from typing import Any

import pytest
from ansible_collections.multicompute.spin.tests.local_cloud.conftest import LocalCloud

from .layers import Deployment, deployment

WAYS = ["plain", "graph", "apart"]
LIFE = ["predict present", "present", "predict absent", "absent"]
# To run each module in a process of its own takes its time: two full lives are enough.
TITLES = {"plain": LIFE, "graph": [*LIFE[:2], "again", *LIFE[2:]], "apart": ["present"]}


def _live(layers: Deployment, titles: list[str]) -> None:
    for title in titles:
        tasks_from = "absent" if "absent" in title else "present"
        check = ["--check"] if "predict" in title else []
        layers.play(title, tasks_from, "--diff", *check)


@pytest.fixture(scope="module")
def ways(
    tmp_path_factory: pytest.TempPathFactory, local_cloud: LocalCloud
) -> dict[str, Deployment]:
    """The life of the same layers in three ways, side by side."""
    found = {
        way: deployment(tmp_path_factory.mktemp(way), local_cloud, way, f"{way}-layers")
        for way in WAYS
    }
    lives = [threading.Thread(target=_live, args=(found[way], TITLES[way])) for way in WAYS]
    for life in lives:
        life.start()
    for life in lives:
        life.join()
    return found


UNLIKE = re.compile(
    r"\b(vpc|subnet|sg|sgr|igw|rtb|rtbassoc|fs|fsap|fsmt|eni|acl|dopt|vpc-cidr-assoc)-[0-9a-f]{8,}"
    r"|\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"
    r"|\b[0-9a-f]{16,}\b|(?<=/)[0-9a-z]{16}\b"
    r"|\d{4}-\d\d-\d\d[T ][\d:.+Z]+"
)
VOLATILE = {"created_time", "creation_time", "date", "response_metadata", "invocation", "duration"}


def comparable(value: Any, way: str, port: int) -> Any:
    """Without what no two deployments have in common."""
    if isinstance(value, dict):
        return {
            comparable(key, way, port): comparable(item, way, port)
            for key, item in value.items()
            if key not in VOLATILE
        }
    if isinstance(value, list):
        # The API lists what has an ID in no order of ours.
        return sorted((comparable(item, way, port) for item in value), key=json.dumps)
    if value == port:
        return "PORT"
    if isinstance(value, str):
        return UNLIKE.sub(r"\1-ID", value.replace(f"{way}-layers", "NAME"))
    return value


@pytest.mark.parametrize(
    ("way", "title"), [*(("graph", title) for title in LIFE), ("apart", "present")]
)
def test_a_graph_ends_as_import_role(ways: dict[str, Deployment], way: str, title: str) -> None:
    def outcome(way: str) -> dict[str, Any]:
        run, port = ways[way].runs[title], ways[way].port
        return {
            "variables": comparable(ways[way].kept[title], way, port),
            "states": {
                told["name"]: (told["event"], told["result"].get("changed", False))
                for told in run.told()
                if told["event"] != "diff" and told["name"] != "copy"
            },
            "diffs": {
                told["name"]: comparable(told["result"]["diff"], way, port)
                for told in run.told("diff")
                if told["result"].get("diff")
            },
        }

    plain, other = outcome("plain"), outcome(way)
    assert len(plain["states"]) > 10 and len(plain["variables"]) > 10 and plain["diffs"]
    for part in plain:
        assert other[part] == plain[part]


def test_the_second_run_changes_nothing(ways: dict[str, Deployment]) -> None:
    counts = ways["graph"].runs["again"].graph["counts"]
    assert counts.keys() == {"ok"}
