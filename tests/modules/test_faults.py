# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each step of each module's scenario with each of its calls disturbed in turn.

The disturbance is in the client, so that it meets exactly the call that is meant, at little cost.
It is an answer that AWS gives when it is busy or broken, which every call of a run meets once, or a
connection that ends when the request has been carried out, which one call of a run meets.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any
from unittest import mock

import boto3
import pytest
from ansible_collections.multicompute.spin.plugins.modules import (
    aws_leftovers_info,
    efs_access_point_info,
    wasm_release_info,
)
from ansible_collections.multicompute.spin.tests.e2e import api_requests
from ansible_collections.multicompute.spin.tests.unit.plugins._stub import READS, run_module
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ConnectionClosedError
from botocore.httpsession import URLLib3Session

from .scenarios import SCENARIOS, Scenario, file_system

REFUSALS = {
    "throttled": ("ThrottlingException", "Rate exceeded", 400),
    "broken": ("InternalFailure", "We encountered an internal error", 500),
}
# EFS knows a repeated one by its token, MiniStack does not.
WITHOUT_TOKEN = {"CreateAccessPoint"}


@dataclass
class Line:
    """The line to AWS: what was to be changed over it, and where it is disturbed."""

    # Those that only read are as many as a wait needs.
    writes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    # A key of REFUSALS, or "cut" for once, "dead" for as often as tried, and then of which write.
    kind: str = ""
    number: int = -1
    met: int = 0
    # What is asked now, and what was refused last.
    asked: tuple[str, str] = ("", "")
    refused: tuple[str, str] = ("", "")

    def client(self, make: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        made = make(*args, **kwargs)
        made.meta.events.register("before-parameter-build", self._ask)
        made.meta.events.register("before-call", self._refuse)
        made.meta.events.register("before-send", self._cut)
        return made

    @contextlib.contextmanager
    def patched(self) -> Iterator[None]:
        make = boto3.session.Session.client
        client = lambda *args, **kwargs: self.client(make, *args, **kwargs)  # noqa: E731
        with mock.patch.object(boto3.session.Session, "client", client):
            yield

    def _ask(self, params: dict[str, Any], model: Any, **_kwargs: Any) -> None:
        service = model.service_model.service_name
        if not model.name.startswith(READS):
            self.writes.append(model.name)
        self.asked = (model.name, repr(params))
        found = api_requests.check(service, model.name, params)
        self.problems += [f"{service}.{model.name}: {problem}" for problem in found]

    def _refuse(self, **_kwargs: Any) -> Any:
        if self.kind not in REFUSALS or self.asked == self.refused:
            self.refused = ("", "")
            return None
        self.met += 1
        self.refused = self.asked
        code, message, status = REFUSALS[self.kind]
        metadata = {"HTTPStatusCode": status, "RetryAttempts": 0}
        parsed = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": metadata}
        return AWSResponse("http://fault", status, {}, None), parsed

    def _cut(self, request: Any, **_kwargs: Any) -> None:
        if self.asked[0].startswith(READS) or len(self.writes) - 1 != self.number:
            return
        if self.kind == "dead" or not self.met:
            self.met += 1
            URLLib3Session().send(request)
            raise ConnectionClosedError(endpoint_url=request.url)


@pytest.fixture(autouse=True)
def no_sleep(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)


def run(scenario: Scenario, args: dict[str, Any], line: Line | None = None) -> dict[str, Any]:
    with line.patched() if line else contextlib.nullcontext():
        return run_module(scenario.module, args)


def steps_before(scenario: Scenario, clients: Any, number: int) -> dict[str, Any]:
    """The arguments of a step, when those before it have been taken."""
    steps = scenario.steps(scenario.prepare(clients))
    for args in steps[:number]:
        result = run(scenario, args)
        assert result.get("changed"), result
    return steps[number]


STEPS = [
    pytest.param(scenario, number, id=f"{scenario.name}-{number}")
    for scenario in SCENARIOS
    for number in range(len(scenario.steps("")))
]


@pytest.mark.parametrize(("scenario", "number"), STEPS)
def test_each_call_disturbed_in_turn(
    scenario: Scenario,
    number: int,
    accounts: Callable[[], Any],
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if scenario.local:
        cloud = request.getfixturevalue("local_cloud")
        monkeypatch.setenv("AWS_ENDPOINT_URL", cloud.endpoint)
    clients = accounts()
    undisturbed = Line()
    args = steps_before(scenario, clients, number)
    first = run(scenario, args, undisturbed)
    assert first.get("changed"), first
    assert undisturbed.problems == []
    assert run(scenario, args)["changed"] is False
    expected = scenario.count(clients)

    for kind, call in disturbances(undisturbed.writes):
        clients = accounts()
        args = steps_before(scenario, clients, number)
        line = Line(kind=kind, number=call)
        result = run(scenario, args, line)
        where = f"{undisturbed.writes[call] if call >= 0 else 'every call'} {kind}"
        assert line.met, where
        failed = result.get("failed", False)
        # What AWS gives no means to repeat safely, such as a revision, is not repeated.
        assert failed is (kind == "dead") or kind == "cut", f"{where}: {result.get('msg')}"
        assert not failed or "Could not " in result["msg"], result["msg"]
        again = run(scenario, args)
        assert not again.get("failed"), f"{where}: {again['msg']}"
        assert not again["changed"] or run(scenario, args)["changed"] is False, where
        assert scenario.count(clients) == expected, where


def disturbances(writes: list[str]) -> Iterator[tuple[str, int]]:
    yield from ((kind, -1) for kind in REFUSALS)
    for number, call in enumerate(writes):
        if call not in WITHOUT_TOKEN:
            yield from ((kind, number) for kind in ("cut", "dead"))


def leftover(clients: Callable[[str], Any]) -> str:
    tags = [{"Key": "multicompute:deployment", "Value": "demo"}]
    clients("ecr").create_repository(repositoryName="demo", tags=tags)
    return "demo"


READERS = {
    aws_leftovers_info: lambda clients: {"tag_value": leftover(clients)},
    efs_access_point_info: lambda clients: {"file_system_id": file_system(clients)},
    wasm_release_info: lambda clients: {
        "bucket": "demo",
        "deployment": "demo",
        "port": 80,
        "primitives": [
            {"name": "ec2", "kind": "instance"},
            {"name": "ecs", "kind": "service"},
            {"name": "lambda", "kind": "function"},
        ],
    },
}


@pytest.mark.parametrize("kind", REFUSALS)
@pytest.mark.parametrize("module", READERS, ids=lambda module: module.__name__.rsplit(".")[-1])
def test_what_is_read_is_the_same(module: ModuleType, kind: str, accounts: Any) -> None:
    args = READERS[module](accounts())
    expected = run_module(module, args)
    assert not expected.get("failed"), expected
    assert expected.get("count", 1) == 1
    line = Line(kind=kind)
    with line.patched():
        assert run_module(module, args) == expected
    assert line.met
