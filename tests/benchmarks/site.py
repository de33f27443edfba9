#!/usr/bin/env python3
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole runs: the first one up to an answer of every primitive, the second one of `make site`, then
a release and its rollback while 50 requests come in each second.

A deployment of its own, whose images and app a run that does not count has built.
"""

from __future__ import annotations

import http.client
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median

from _processes import Taken, measured, middle_of
from _subjects import CHECKOUT, describe_machine, table
from ansible_collections.multicompute.spin.tests.e2e.conftest import Deployment, environment
from ansible_collections.multicompute.spin.tests.load import load
from ansible_collections.multicompute.spin.tests.local_cloud.conftest import LocalCloud

ROUNDS = 3
PRIMITIVES = {"ec2", "ecs", "lambda"}
FIRST, SECOND, RELEASE, ROLLBACK = 30, 15, 20, 10  # wanted: seconds at most
LONGEST = 10  # tasks that are shown


@dataclass
class Screen:
    """What a run prints, and when."""

    began: float = field(default_factory=time.perf_counter)
    lines: list[tuple[float, str]] = field(default_factory=list)

    @contextmanager
    def written(self) -> Iterator[int]:
        """A file descriptor to write to."""
        reader, writer = os.pipe()
        thread = threading.Thread(target=self._read, args=(reader,))
        thread.start()
        try:
            yield writer
        finally:
            os.close(writer)
            thread.join()

    def _read(self, reader: int) -> None:
        with open(reader) as lines:
            for line in lines:
                self.lines.append((time.perf_counter() - self.began, line.rstrip()))

    def taken(self, kind: str) -> list[tuple[str, float]]:
        """Seconds from each PLAY or TASK to the next. Hosts that each go their own way mix their
        tasks: then it is the time until any host's next task."""
        titles = [
            (found[1], found[2], at)
            for at, line in self.lines
            if (found := re.match(r"(PLAY|TASK) \[?(.*?)\]? ?\*{3}", line))
        ]
        if kind == "PLAY":
            titles = [title for title in titles if title[0] != "TASK"]
        return [
            (name, end - at)
            for (found, name, at), (_next, _name, end) in pairwise(titles)
            if found == kind
        ]

    @property
    def text(self) -> str:
        return "\n".join(line for _at, line in self.lines)


@dataclass
class Site:
    deployment: Deployment
    directory: Path

    @contextmanager
    def fresh(self) -> Iterator[dict[str, str]]:
        """Environment of someone whose cache is empty, in an empty local cloud."""
        made = self.deployment
        LocalCloud(made.api_port, made.home, made.name)("purge")
        with tempfile.TemporaryDirectory(dir=self.directory) as cache:
            yield environment(XDG_CACHE_HOME=cache)

    def first(self, given: dict[str, str], screen: Screen) -> float:
        """Seconds until all primitives have answered."""
        seen: set[str] = set()
        at = 0.0
        with screen.written() as output:
            process = subprocess.Popen(
                self.deployment.command("site.yml"),
                cwd=CHECKOUT,
                env=given,
                stdout=output,
                stderr=output,
            )
            while process.poll() is None:
                if seen != PRIMITIVES:
                    seen |= served_by(self.deployment.port)
                    at = time.perf_counter() - screen.began
                time.sleep(0.02)
        if process.returncode or seen != PRIMITIVES:
            sys.exit(
                f"{seen} answered, and site.yml ended with {process.returncode}\n{screen.text}"
            )
        return at

    def second(self, given: dict[str, str], screen: Screen) -> Taken:
        """All of `make site`, under this deployment's name."""
        whole = Taken(0, 0)
        with screen.written() as output:
            for command in (["make", "setup"], self.deployment.command("site.yml")):
                taken, code = measured(command, given, output)
                whole += taken
                if code:
                    break
        if code:
            sys.exit(f"{command} ended with {code}\n{screen.text}")
        return whole

    def rolled(self, given: dict[str, str], *playbook: str) -> Taken:
        """A playbook that no request may be lost by."""
        screen = Screen()
        with load(self.deployment.port) as answered, screen.written() as output:
            taken, code = measured(self.deployment.command(*playbook), given, output)
        if code or answered.failures:
            failures = answered.failures[:3]
            sys.exit(f"{playbook} ended with {code}, failed requests: {failures}\n{screen.text}")
        return taken


def served_by(port: int) -> set[str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/")
        response = connection.getresponse()
        if response.read() == b"Hello, Fermyon":
            return {response.headers["x-served-by"]}
    except (OSError, http.client.HTTPException):
        pass
    finally:
        connection.close()
    return set()


def longest(title: str, screen: Screen) -> None:
    tasks = sorted(screen.taken("TASK"), key=lambda one: -one[1])[:LONGEST]
    for kind, spans in ((f"{title}: play", screen.taken("PLAY")), (f"{title}: task", tasks)):
        table([kind, "s"], [[name, f"{seconds:.1f}"] for name, seconds in spans])


def main() -> None:
    describe_machine()
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        deployment = Deployment("bench-site", folder / "cloud", folder / "build")
        site = Site(deployment, folder)
        print("Builds what is to be deployed, then runs all twice, three times: some minutes.\n")
        try:
            deployment.must("site.yml")
            answered, firsts, whole, seconds = [], [], [], []
            releases, rollbacks = [], []
            for _ in range(ROUNDS):
                with site.fresh() as given:
                    firsts.append(Screen())
                    answered.append(site.first(given, firsts[-1]))
                    seconds.append(Screen())
                    whole.append(site.second(given, seconds[-1]))
                    new = ("--extra-vars", "app_version=1.1.0")
                    releases.append(site.rolled(given, "playbooks/release.yml", *new))
                    rollbacks.append(site.rolled(given, "playbooks/rollback.yml"))
        finally:
            deployment.run("playbooks/destroy.yml")
    first, second = median(answered), middle_of(whole)
    ended = median(screen.lines[-1][0] for screen in firsts)
    rows = [
        ["first run, all three answered", f"{first:.1f}", "", verdict(first, FIRST)],
        ["first run, ended", f"{ended:.1f}", "", ""],
    ]
    for name, taken, limit in (
        ("second run of make site", second, SECOND),
        ("release.yml under load", middle_of(releases), RELEASE),
        ("rollback.yml under load", middle_of(rollbacks), ROLLBACK),
    ):
        rows.append([name, f"{taken.wall:.1f}", f"{taken.cpu:.1f}", verdict(taken.wall, limit)])
    table(["", "wall s", "CPU s", "at most"], rows)
    # Of the run in the middle.
    longest("first run", firsts[answered.index(first)])
    longest("second run", seconds[[one.wall for one in whole].index(second.wall)])
    describe_machine()


def verdict(seconds: float, limit: int) -> str:
    return f"{limit}: {'ok' if seconds < limit else 'missed'}"


if __name__ == "__main__":
    main()
