# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Releases that are no good, while 50 requests a second come in.

No user meets what shows before the switch, and what shows after it goes back by itself. The tests
run in the order of the file.
"""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ..apps import broken
from ..load import Load, load
from ..local_cloud.conftest import until
from .conftest import Deployment, Run

NAMES = ("ec2", "ecs", "lambda")
HEALTH = {"app_health_path": "/health", "app_health_codes": "200"}
# What a release that fails so is told to say of itself, and what the run ends with.
BEFORE_USERS: dict[str, tuple[dict[str, Any], str]] = {
    "always-500": ({}, r"was answered with 500, and 200-499 is wanted"),
    "tenth-500": (HEALTH, r"GET / was answered with 500"),
    "tenth-hangs": (
        HEALTH | {"release_proof_timeout": 3},
        r"GET / got no answer|GET / was answered with 50\d",
    ),
    "slow-3s": (HEALTH, r"takes 3\d\d\d(\.\d)? ms for an answer"),
    "eats-memory": (HEALTH, r"GET / (was answered with 50\d|got no answer)"),
    "health-404": (HEALTH, r"404.*set app_health_path"),
    "does-not-start": (
        {"deployment_patience": 20},
        r"ec2: .*(unhealthy|Target\.FailedHealthChecks)",
    ),
}
# Refused when it is bundled: nothing else is touched.
REFUSED = {
    "another-world": ({}, r"imports acme:random/random"),
    "crash-after-20": ({"app_instance_reuse": 128}, r"app_instance_reuse is 128"),
}


def given(**variables: Any) -> list[str]:
    return ["--extra-vars", json.dumps(variables)]


@contextmanager
def users(deployment: Deployment) -> Iterator[Load]:
    with load(deployment.port) as answered:
        yield answered
        # For the requests after the play.
        time.sleep(0.5)


def screen(run: Run) -> str:
    """What stands at the end of the run."""
    return run.output.split("PLAY RECAP")[1].split("\nendpoint:")[1]


def test_a_first_release_that_is_no_good_gets_no_users_and_the_next_one_does(
    deployment: Deployment,
) -> None:
    bad = {"app_version": "0.1.0", "app_wasm": str(broken("always-500"))}
    run = deployment.run("site.yml", *given(**bad))
    assert run.code != 0
    assert "cannot serve release 0.1.0" in run.text, run.output[-5000:]
    run = deployment.must("site.yml", *given(app_version="1.0.0", app_wasm=str(broken("ok"))))
    for name in NAMES:
        assert re.search(rf"^{name} .* 1  1\.0\.0 +healthy ", screen(run), re.M), screen(run)
    assert (
        deployment.must("site.yml", *given(app_version="1.0.0", app_wasm=str(broken("ok")))).changed
        == 0
    )


def attempt(deployment: Deployment, playbook: str, **variables: Any) -> tuple[Run, Load]:
    with users(deployment) as answered:
        run = deployment.run(playbook, *given(**variables))
    print(
        f"{playbook}: {run.seconds:.1f} s, {len(answered.answers)} requests, "
        f"{len(answered.failures)} failed"
    )
    return run, answered


def serves(deployment: Deployment, release: str) -> None:
    """By status.yml, which asks each primitive by its private rule."""
    run = deployment.must("playbooks/status.yml")
    for name in NAMES:
        assert re.search(rf"^{name} .* {re.escape(release)} ", screen(run), re.M), screen(run)


WAYS = [
    pytest.param("playbooks/release.yml", {}, id="release"),
    pytest.param("site.yml", {}, id="site", marks=pytest.mark.whole_table),
    pytest.param(
        "playbooks/release.yml", {"canary": "lambda"}, id="canary", marks=pytest.mark.whole_table
    ),
]


@pytest.mark.parametrize(("playbook", "more"), WAYS)
@pytest.mark.parametrize("behaviour", BEFORE_USERS)
def test_no_user_meets_it(
    deployment: Deployment, behaviour: str, playbook: str, more: dict[str, Any]
) -> None:
    variables, reason = BEFORE_USERS[behaviour]
    run, answered = attempt(
        deployment,
        playbook,
        app_version=f"1.1.0-{behaviour}",
        app_wasm=str(broken(behaviour)),
        **variables,
        **more,
    )
    assert run.code != 0, run.output[-5000:]
    assert answered.failures == [], answered.failures[:5]
    assert len(screen(run).splitlines()) <= 25, screen(run)
    assert re.search(reason, screen(run)), screen(run)
    assert "It goes on to serve 1.0.0." in screen(run)
    serves(deployment, "1.0.0")


@pytest.mark.parametrize("behaviour", REFUSED)
def test_it_is_refused_before_anything_is_touched(deployment: Deployment, behaviour: str) -> None:
    variables, reason = REFUSED[behaviour]
    before = deployment.running()
    run = deployment.run(
        "playbooks/release.yml",
        *given(app_version=f"1.1.0-{behaviour}", app_wasm=str(broken(behaviour)), **variables),
    )
    assert run.code != 0
    assert re.search(reason, run.text), run.output[-5000:]
    assert deployment.running() == before


@pytest.mark.whole_table
def test_what_shows_later_goes_back_by_itself(deployment: Deployment) -> None:
    # Good until the users have come, whatever the machine is busy with: then the watch goes on.
    bad = broken("bad-later", at=time.time() + 35)
    run, answered = attempt(
        deployment,
        "playbooks/release.yml",
        app_version="1.1.0-bad-later",
        app_wasm=str(bad),
        release_watch=59,
    )
    assert run.code != 0
    counted = re.search(
        r"(\d+) of \d+ requests failed, where the former release failed 0", screen(run)
    )
    assert counted and int(counted[1]) > 0, screen(run)
    assert 0 < len(answered.failures) < 50 * 30
    ended = max(answer.sent for answer in answered.failures)
    assert any(answer.is_good and answer.sent > ended for answer in answered.answers)
    serves(deployment, "1.0.0")


@pytest.mark.whole_table
def test_one_that_takes_its_time_to_start_gets_users_when_it_has(deployment: Deployment) -> None:
    slow = broken("slow-start", at=time.time() + 30)
    with users(deployment) as answered:
        deployment.must(
            "playbooks/release.yml",
            *given(app_version="1.2.0", app_wasm=str(slow), release_watch=0, **HEALTH),
        )
    assert answered.failures == []
    serves(deployment, "1.2.0")


@pytest.mark.whole_table
def test_a_good_release_follows_a_bad_one(deployment: Deployment) -> None:
    with users(deployment) as answered:
        deployment.must(
            "playbooks/release.yml",
            *given(app_version="1.3.0", app_wasm=str(broken("floods-log")), **HEALTH),
        )
        deployment.must("playbooks/rollback.yml")
    assert answered.failures == []
    serves(deployment, "1.2.0")


KILLS = int(os.environ.get("KILLS", "2"))
# What stands on the screen when it is killed, and what it was started with.
MOMENTS: list[tuple[str, dict[str, Any]]] = [
    ("Switch the listener", {}),
    ("Watch it", {"canary": "lambda", "release_watch": 30}),
    ("Bring the release up", {}),
    ("Ask it", {}),
    ("Watch for", {}),
    ("Bring the release to state", {}),
    ("Plan of the roll", {}),
]


@pytest.mark.whole_table
@pytest.mark.parametrize("number", range(KILLS))
def test_a_killed_roll_is_converged_by_the_next_run(deployment: Deployment, number: int) -> None:
    moment, more = MOMENTS[number % len(MOMENTS)]
    release = {"app_version": f"2.{number}.0", "app_wasm": str(broken("ok"))}
    with users(deployment) as answered:
        log = deployment.build.parent / f"killed-{number}.log"
        process = deployment.start("playbooks/release.yml", *given(**release, **more), log=log)
        until(lambda: moment in log.read_text() or process.poll() is not None, 120, moment)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        playbook = ("site.yml", "playbooks/release.yml")[number % 2]
        run = deployment.must(playbook, *given(**release))
    assert answered.failures == [], answered.failures[:5]
    for name in NAMES:
        row = rf"^{name} +\S+ +\S+ +1  2\.{number}\.0 "
        assert re.search(row, screen(run), re.M), screen(run)
