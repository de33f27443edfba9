# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Apps that know nothing of this project, as they are, on every primitive. The tests run in the
order of the file."""

from __future__ import annotations

import json
import re
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from ..apps import APPS, demanding
from ..load import load
from ..local_cloud.conftest import until
from .conftest import Deployment, Run

NAMES = ("ec2", "ecs", "lambda")
MIB = 1 << 20


def given(**variables: Any) -> list[str]:
    return ["--extra-vars", json.dumps(variables)]


def rows(run: Run) -> dict[str, str]:
    """The lines of the table, by primitive."""
    screen = run.output.split("\nendpoint:")[-1]
    return {name: line for name in NAMES for line in re.findall(rf"^{name} .*$", screen, re.M)}


def ask(
    deployment: Deployment, path: str, body: bytes | None = None
) -> tuple[int, list[tuple[str, str]], bytes]:
    connection = HTTPConnection("127.0.0.1", deployment.port, timeout=30)
    try:
        connection.request("POST" if body is not None else "GET", path, body)
        answer = connection.getresponse()
        return answer.status, answer.getheaders(), answer.read()
    finally:
        connection.close()


@pytest.fixture(scope="module")
def first(deployment: Deployment) -> Path:
    return APPS["JavaScript"]()


def test_a_first_deployment_counts_what_each_primitive_answers(
    deployment: Deployment, first: Path
) -> None:
    run = deployment.must("site.yml", *given(app_version="1.0.0", app_wasm=str(first)))
    for name, row in rows(run).items():
        columns = row.split()
        assert columns[3:6] == ["1", "1.0.0", "healthy"], row
        requests, failures, share = int(columns[6]), int(columns[7]), float(columns[8])
        assert (requests >= 10, failures) == (True, 0), name
        assert 25 < share < 42, row
    assert {ask(deployment, "/")[2] for _ in NAMES} == {b"Hello from JavaScript"}
    assert {ask(deployment, "/nowhere")[0] for _ in NAMES} == {404}
    again = deployment.must("site.yml", *given(app_version="1.0.0", app_wasm=str(first)))
    assert again.changed == 0, again.output


@pytest.mark.parametrize(("number", "language"), [(1, "Spin's SDK"), (2, "waki")])
def test_another_app_is_released_and_nobody_notices(
    deployment: Deployment, first: Path, number: int, language: str
) -> None:
    release = {"app_version": f"1.{number}.0", "app_wasm": str(APPS[language]())}
    with load(deployment.port) as answered:
        run = deployment.must("playbooks/release.yml", *given(**release))
    assert answered.failures == [], answered.failures[:5]
    assert all(f"1.{number}.0 " in row for row in rows(run).values()), run.output[-2000:]
    assert {ask(deployment, "/")[2] for _ in NAMES} == {f"Hello from {language}".encode()}


def test_the_way_back_is_a_switch(deployment: Deployment, first: Path) -> None:
    with load(deployment.port) as answered:
        run = deployment.must("playbooks/rollback.yml")
    assert answered.failures == [], answered.failures[:5]
    assert all("1.1.0 " in row for row in rows(run).values()), run.output[-2000:]


def test_a_standby_ends_by_itself_and_what_serves_goes_on(
    deployment: Deployment, first: Path
) -> None:
    release = {"app_version": "1.3.0", "app_wasm": str(first), "release_standby": 5}
    with load(deployment.port) as answered:
        deployment.must("playbooks/release.yml", *given(**release))
        ecs = deployment.client("ecs")

        def counts() -> list[int]:
            services = ["ecs-blue", "ecs-green"]
            found = ecs.describe_services(cluster=deployment.name, services=services)
            return sorted(one["runningCount"] for one in found["services"])

        until(lambda: counts() == [0, 1], 60, "the end of the standby")
    assert answered.failures == [], answered.failures[:5]
    deployment.must("playbooks/status.yml")


def test_an_app_says_how_it_is_to_be_asked(deployment: Deployment, first: Path) -> None:
    """It wants a login on /, which is no failure."""
    probes = [
        {"path": "/", "status": "401"},
        {"path": "/cookies", "status": "200"},
    ]
    release = {"app_version": "2.0.0", "app_wasm": str(demanding()), "app_probes": probes}
    deployment.must("playbooks/release.yml", *given(**release))
    for _ in NAMES:
        assert ask(deployment, "/")[0] == 401
        cookies = [value for key, value in ask(deployment, "/cookies")[1] if key == "set-cookie"]
        assert [cookie.split(";")[0] for cookie in cookies] == ["a=1", "b=2"]
    deployment.must("playbooks/status.yml")


def test_what_streams_and_what_a_function_cannot_hold(deployment: Deployment, first: Path) -> None:
    """A function behind a load balancer takes and gives 1 MB; the others have no such limit."""
    deployment.must("playbooks/shift.yml", *given(weights={"ec2": 1, "ecs": 1}))
    for _ in range(2):
        status, _headers, body = ask(deployment, "/stream")
        assert (status, len(body)) == (200, 20 * MIB)
        status, _headers, body = ask(deployment, "/upload", bytes(5 * MIB))
        assert (status, str(5 * MIB).encode() in body) == (200, True), body
    deployment.must("playbooks/shift.yml", *given(weights={"lambda": 1}))
    assert ask(deployment, "/stream")[0] == 502
    assert ask(deployment, "/upload", bytes(5 * MIB))[0] == 413
    deployment.must("playbooks/shift.yml", *given(weights=dict.fromkeys(NAMES, 1)))
