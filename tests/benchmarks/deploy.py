#!/usr/bin/env python3
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shared layers as dependency graphs, as plain tasks and by boto3 alone.

Each side creates them in an empty local cloud, finds nothing to do, and destroys them. All of an
ansible-playbook counts, its start included; the local cloud does not.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from _processes import Taken, measured, middle_of
from _subjects import describe_machine, table
from ansible_collections.multicompute.spin.plugins.modules import aws_leftovers_info
from ansible_collections.multicompute.spin.tests.e2e.conftest import environment
from ansible_collections.multicompute.spin.tests.local_cloud.conftest import LocalCloud, free_port
from ansible_collections.multicompute.spin.tests.unit.plugins._stub import run_module

HERE = Path(__file__).with_name("deploy")
SIDES = ("graph", "plain", "boto3")
# The second run finds all there. The graph remembers what that read, and the third reads only that.
PHASES = ("create", "no-op", "third run", "destroy")
ACCOUNT = "000000000000"
REGION = "us-east-1"
# As inventories/local has it for ansible-playbook.
CREDENTIALS = {
    "AWS_REGION": REGION,
    "AWS_ACCESS_KEY_ID": "local-cloud-access",
    "AWS_SECRET_ACCESS_KEY": "local-cloud-secret",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    "AWS_EC2_METADATA_DISABLED": "true",
}
# What the graph may take at most: as a share of plain's, as a multiple of boto3's.
TARGETS = {
    ("create", "wall", "plain"): 1 / 4,
    ("create", "CPU", "plain"): 1 / 6,
    ("no-op", "CPU", "plain"): 1 / 8,
    ("third run", "CPU", "plain"): 1 / 8,
    ("destroy", "CPU", "plain"): 1 / 6,
    ("create", "wall", "boto3"): 4,
    ("create", "CPU", "boto3"): 6,
    ("no-op", "wall", "boto3"): 2,
    ("third run", "wall", "boto3"): 2,
}
MINUTES_A_RUN = 1.4  # with plain, of which it takes most
MINUTES_WITHOUT = 0.5

Figures = dict[tuple[str, str], list[Taken]]


@dataclass
class Bench:
    cloud: LocalCloud
    directory: Path
    port: int

    @property
    def name(self) -> str:
        return f"bench-{self.port}"

    @property
    def credentials(self) -> dict[str, str]:
        return CREDENTIALS | {"AWS_ENDPOINT_URL": self.cloud.endpoint}

    def command(self, side: str, state: str) -> list[str]:
        if side == "boto3":
            return [sys.executable, str(HERE / "by_boto3.py"), state]
        variables = {
            "deployment_name": self.name,
            "deployment_account": ACCOUNT,
            "aws_region": REGION,
            "local_cloud_port": self.cloud.port,
            "load_balancer_port": self.port,
        }
        playbook = str(Path(sys.executable).with_name("ansible-playbook"))
        options = ["--tags", state, "--extra-vars", json.dumps(variables)]
        return [playbook, str(HERE / f"{side}.yml"), *options]

    def run(self, side: str, state: str, cache: Path) -> tuple[Taken, int]:
        """What it took, and how much it changed."""
        own = self.credentials | {
            "DEPLOYMENT": self.name,
            "LISTENER_PORT": str(self.port),
            "ACCOUNT": ACCOUNT,
        }
        given = environment(XDG_CACHE_HOME=str(cache), **(own if side == "boto3" else {}))
        with (self.directory / "log").open("w+") as log:
            taken, code = measured(self.command(side, state), given, log.fileno())
            log.seek(0)
            output = log.read()
        found = re.findall(r"changed=(\d+)", output)
        if code or not found:
            sys.exit(f"{side}, {state}: ended with {code}\n{output}")
        return taken, int(found[-1])

    def there(self) -> list[str]:
        """Kinds of all that carries the deployment's tag."""
        with mock.patch.dict(os.environ, self.credentials):
            found = run_module(aws_leftovers_info, {"tag_value": self.name})
        return sorted(f"{one['service']}/{one['type']}" for one in found["leftovers"])

    def slow_down(self, seconds: float) -> None:
        faults = [{"action": "*", "kind": "latency", "seconds": seconds}] if seconds else []
        request = urllib.request.Request(
            f"{self.cloud.endpoint}/_local_cloud/faults",
            method="PUT",
            data=json.dumps(faults).encode(),
        )
        urllib.request.urlopen(request, timeout=10).close()

    def measure(self, side: str, figures: Figures) -> list[str]:
        """All phases of a side; gives what the first of them made."""
        made: list[str] = []
        with tempfile.TemporaryDirectory(dir=self.directory) as cache:
            for phase in PHASES:
                if (side, phase) == ("plain", "third run"):
                    figures[side, phase] = figures[side, "no-op"]  # it would be the same once more
                    continue
                state = "absent" if phase == "destroy" else "present"
                taken, changed = self.run(side, state, Path(cache))
                figures[side, phase].append(taken)
                assert bool(changed) == (phase in ("create", "destroy")), (side, phase, changed)
                made = made or self.there()
        assert not self.there(), (side, self.there())
        return made


@contextmanager
def bench() -> Iterator[Bench]:
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory, "cloud")
        home.mkdir()
        port = free_port()
        cloud = LocalCloud(port, home, f"benchmark-{port}")
        cloud("start")
        try:
            yield Bench(cloud, Path(directory), free_port())
        finally:
            cloud("purge")


def runs_of(side: str, latency: int, runs: int) -> int:
    """With latency, plain tasks take so long that one run has to do."""
    return 1 if side == "plain" and latency else runs


def verdict(figures: Figures, phase: str, figure: str, side: str) -> list[str]:
    """The graph's share of what that side took, and whether that is as wanted."""
    ratio = seconds(figures["graph", phase], figure) / seconds(figures[side, phase], figure)
    shown = f"1/{1 / ratio:.1f}" if side == "plain" else f"{ratio:.1f} x"
    target = TARGETS.get((phase, figure, side))
    if target is None:
        return [shown, ""]
    limit = f"1/{1 / target:.0f}" if side == "plain" else f"{target} x"
    return [shown, f"{limit}: {'ok' if ratio <= target else 'missed'}"]


def seconds(taken: list[Taken], figure: str) -> float:
    middle = middle_of(taken)
    return middle.wall if figure == "wall" else middle.cpu


def report(latency: int, figures: Figures) -> None:
    rows = []
    for phase in PHASES:
        for figure in ("wall", "CPU"):
            taken = [f"{seconds(figures[side, phase], figure):.1f}" for side in SIDES]
            ratios = [
                *verdict(figures, phase, figure, "plain"),
                *verdict(figures, phase, figure, "boto3"),
            ]
            rows.append([f"{phase}, {figure} s", *taken, *ratios])
    titles = [f"{latency} ms per call", *SIDES, "of plain", "at most", "of boto3", "at most"]
    table(titles, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument(
        "--latency", type=int, nargs="+", default=[0, 60], help="ms added to every API call"
    )
    arguments = parser.parse_args()
    describe_machine()
    minutes = sum(
        runs_of("plain", latency, arguments.runs) * MINUTES_A_RUN + arguments.runs * MINUTES_WITHOUT
        for latency in arguments.latency
    )
    print(f"Medians of {arguments.runs} runs, which take about {minutes:.0f} minutes.", end=" ")
    print("With latency, plain runs once.\n", flush=True)
    with bench() as made:
        for latency in arguments.latency:
            made.slow_down(latency / 1000)
            figures: Figures = defaultdict(list)
            for number in range(arguments.runs):
                # Interleaved: what else the machine does hits all of them.
                sides = [side for side in SIDES if number < runs_of(side, latency, arguments.runs)]
                created = [made.measure(side, figures) for side in sides]
                assert all(one == created[0] for one in created), created
            report(latency, figures)
    describe_machine()


if __name__ == "__main__":
    main()
