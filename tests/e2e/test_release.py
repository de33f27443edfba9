# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Releases while 50 requests a second come in. The tests run in the order of the file."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import docker
import pytest

from ..load import Load, load
from .conftest import BIN, ROOT, Deployment, Run, environment

NAMES = ("ec2", "ecs", "lambda")
EVEN = Counter({"ec2": 10, "ecs": 10, "lambda": 10})

# How the sample app is made to fail, or to take its time, by the name of its release.
MOODS = """
        let release = std::env::var("RELEASE").unwrap_or_default();
        if release.ends_with("-broken") {
            response.set_status_code(500).expect("a status");
        }
        let start = std::time::Instant::now();
        while release.ends_with("-slow") && start.elapsed().as_millis() < 30 {}
"""


@pytest.fixture(scope="module")
def site(deployment: Deployment) -> Run:
    return deployment.must("site.yml")


@pytest.fixture(scope="module")
def moody(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source of an app that some releases of are no good."""
    source = tmp_path_factory.mktemp("moody") / "app"
    shutil.copytree(ROOT / "runtime/app", source, ignore=shutil.ignore_patterns("target"))
    code = source / "src/lib.rs"
    line = "        let body = response.body()"
    text = code.read_text()
    assert text.count(line) == 1
    code.write_text(text.replace(line, MOODS + line))
    return source


@contextmanager
def without_failures(deployment: Deployment) -> Iterator[Load]:
    with load(deployment.port) as answered:
        yield answered
        # For the requests after the play.
        time.sleep(0.5)
    assert answered.failures == [], answered.failures[:5]
    print(f"{len(answered.answers)} requests, {dict(answered.releases())}")


def releases_of(deployment: Deployment, requests: int = 30) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for _ in range(requests):
        answer = deployment.ask()
        found.setdefault(answer.served_by, set()).add(answer.release)
    return found


def everywhere(release: str) -> dict[str, set[str]]:
    return {name: {release} for name in NAMES}


def ended(run: Run) -> str:
    """What stands on the screen at the end of a run that failed."""
    screen = run.output.split("PLAY RECAP")[1].split("\nendpoint:")[1]
    assert len(screen.splitlines()) <= 25, screen
    return screen


def active(deployment: Deployment) -> str:
    (link,) = deployment.home.glob("efs/*/*/current")
    return link.readlink().name


def test_a_release_reaches_every_primitive_with_no_failed_request(
    deployment: Deployment, site: Run
) -> None:
    instances = {answer.served_by: answer.instance for answer in [deployment.ask() for _ in NAMES]}
    order = ["--extra-vars", '{"canary": "lambda", "release_order": ["ecs"]}']
    with without_failures(deployment) as answered:
        run = deployment.must("playbooks/release.yml", "--extra-vars", "app_version=1.1.0", *order)
        ended = time.monotonic()
    print(f"release.yml took {run.seconds:.1f} s")
    assert answered.releases(since=ended).keys() == {"1.1.0"}
    assert answered.releases().keys() == {"1.0.0", "1.1.0"}
    # The canary, with a part of its requests first, then in the order that was asked for.
    first = {
        name: min(a.sent for a in answered.answers if (a.served_by, a.release) == (name, "1.1.0"))
        for name in NAMES
    }
    assert sorted(first, key=first.__getitem__) == ["lambda", "ecs", "ec2"]
    for name in NAMES:
        row = rf"^{name} .* 1\.1\.0 +1\.0\.0 +healthy .* \d+\.\d s$"
        assert re.search(row, run.output, re.MULTILINE), run.output[-2000:]
    assert deployment.count() == EVEN
    # The same instance, on its other port.
    now = {answer.served_by: answer.instance for answer in [deployment.ask() for _ in NAMES]}
    assert now["ec2"] == instances["ec2"]
    assert active(deployment) == "1.1.0"


def test_site_has_nothing_to_add_to_a_release(deployment: Deployment, site: Run) -> None:
    run = deployment.must("site.yml", "--extra-vars", "app_version=1.1.0")
    assert run.changed == 0, run.output


def test_rollback_goes_to_the_release_before(deployment: Deployment, site: Run) -> None:
    with without_failures(deployment) as answered:
        run = deployment.must("playbooks/rollback.yml")
        ended = time.monotonic()
    print(f"rollback.yml took {run.seconds:.1f} s")
    assert answered.releases(since=ended).keys() == {"1.0.0"}
    assert releases_of(deployment) == everywhere("1.0.0")
    assert active(deployment) == "1.0.0"

    before = deployment.running()
    run = deployment.run("playbooks/rollback.yml")
    assert run.code != 0
    assert "There is no release before 1.0.0 to go back to; there: 1.0.0, 1.1.0." in run.text
    run = deployment.run("playbooks/rollback.yml", "--extra-vars", "to=0.9.0")
    assert run.code != 0
    assert "to is 0.9.0, which is not on the share; there: 1.0.0, 1.1.0." in run.text
    assert run.changed == 0
    assert deployment.running() == before


def test_a_release_that_does_not_answer_goes_back_by_itself(
    deployment: Deployment, site: Run, moody: Path
) -> None:
    with without_failures(deployment) as answered:
        run = deployment.run(
            *("playbooks/release.yml", "--extra-vars", "app_version=1.2.0-broken"),
            *("--extra-vars", f"app_source={moody}"),
        )
    assert run.code != 0
    assert answered.releases().keys() == {"1.0.0"}, "no user saw it"
    reason = ended(run)
    for name in NAMES:
        assert re.search(
            rf"^failed: {name}: .*500.* It goes on to serve 1\.0\.0\.$", reason, re.M
        ), reason
    assert "set app_health_path" in reason
    assert "The last lines of the log group /" in reason
    assert releases_of(deployment) == everywhere("1.0.0")
    assert active(deployment) == "1.0.0"


def test_a_canary_that_is_slow_goes_back_by_itself(
    deployment: Deployment, site: Run, moody: Path
) -> None:
    with without_failures(deployment) as answered:
        run = deployment.run(
            *("playbooks/release.yml", "--extra-vars", "app_version=1.2.0-slow"),
            *("--extra-vars", f"app_source={moody} canary=ec2"),
        )
    assert run.code != 0
    assert re.search(r"Release 1\.2\.0-slow on ec2 takes [\d.]+ ms for an answer", ended(run))
    slow = {a.served_by for a in answered.answers if a.release == "1.2.0-slow"}
    assert slow == {"ec2"}
    assert releases_of(deployment) == everywhere("1.0.0")


@pytest.fixture(scope="module")
def python_app(site: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The example in Python, on a web server: its variables."""
    folder = tmp_path_factory.mktemp("python")
    # The crate that the sample app is built with holds the interfaces.
    (wit, *_) = (ROOT / ".cache/builder/cargo/registry/src").glob("*/wasi-0.13*/wit")
    command = [BIN / "componentize-py", "-d", wit, "-w", "wasi:http/proxy@0.2.0", "componentize"]
    subprocess.run(
        [*command, "app", "-o", folder / "app.wasm"],
        cwd=ROOT / "examples/python",
        # It would search the packages of a Python that it finds, and ours link to this checkout.
        env=environment(PYTHONDONTWRITEBYTECODE="1", PATH="/usr/bin:/bin"),
        check=True,
    )
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield {
        "app_wasm_url": f"http://127.0.0.1:{server.server_port}/app.wasm",
        "app_wasm_sha256": sha256((folder / "app.wasm").read_bytes()).hexdigest(),
    }
    server.shutdown()


def test_an_app_in_python_from_an_address_is_served_by_the_same_primitives(
    deployment: Deployment, site: Run, python_app: dict[str, Any]
) -> None:
    with without_failures(deployment):
        deployment.must(
            *("playbooks/release.yml", "--extra-vars", "app_version=2.0.0"),
            *("--extra-vars", json.dumps(python_app)),
        )
    assert releases_of(deployment) == everywhere("2.0.0")
    assert {deployment.ask().body for _ in NAMES} == {b"Hello from Python"}


def test_shift_moves_the_requests(deployment: Deployment, site: Run) -> None:
    run = deployment.run("playbooks/shift.yml", "--extra-vars", '{"weights": {"ec2": 9, "gcp": 1}}')
    assert run.code != 0
    assert "weights names gcp, which the inventory does not have as a primitive" in run.text
    assert deployment.count() == EVEN
    with without_failures(deployment):
        deployment.must(
            "playbooks/shift.yml", "--extra-vars", '{"weights": {"ec2": 90, "lambda": 10}}'
        )
    assert deployment.count() == Counter({"ec2": 27, "lambda": 3})


@pytest.fixture(scope="module")
def emulation() -> None:
    """The kernel runs programs for arm64."""
    ended = subprocess.run(
        [ROOT / "scripts/arm64-emulation"], capture_output=True, text=True, check=False
    )
    if "this kernel" in ended.stderr:
        pytest.skip(ended.stderr)
    assert ended.returncode == 0, ended.stderr


def test_another_architecture_joins_and_serves_the_same_file(
    deployment: Deployment, site: Run, emulation: None
) -> None:
    inventories = ("-i", "inventories/local", "-i", "inventories/local-arm64")
    with without_failures(deployment):
        run = deployment.must("site.yml", *inventories)
    for name, architecture in {"ecs": "amd64", "ecs-arm64": "arm64"}.items():
        assert re.search(
            rf"^{name} +service +{architecture} +1  1\.0\.0 +(\S+ +)?healthy ", run.output, re.M
        )
    assert releases_of(deployment) == everywhere("1.0.0") | {"ecs-arm64": {"1.0.0"}}
    engine = docker.from_env()
    images = [engine.images.get(made.attrs["Image"]) for made in deployment.containers()]
    assert [image.attrs["Architecture"] for image in images].count("arm64") == 1
    deployment.must("playbooks/destroy.yml", *inventories, "--limit", "ecs-arm64")
    assert deployment.count() == EVEN
