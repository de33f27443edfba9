# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of a deployment, from nothing to nothing. The tests run in the order of the file."""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import docker
import pytest

from .api_requests import read
from .conftest import Deployment, Run

EVEN = Counter({"ec2": 10, "ecs": 10, "lambda": 10})
NAMES = ("ec2", "ecs", "lambda")


@pytest.fixture(scope="module")
def site(deployment: Deployment) -> Run:
    return deployment.must("site.yml")


@pytest.fixture(scope="module")
def machines(deployment: Deployment, site: Run) -> dict[str, Any]:
    """The container of each primitive, found by what it says it is."""
    deployment.count()  # wakes the function
    found = {}
    for container in deployment.containers():
        environment = dict(
            line.split("=", 1) for line in container.attrs["Config"]["Env"] if "=" in line
        )
        name = environment.get(
            "APP_SERVED_BY", "ec2" if "instance" in str(container.image.tags) else ""
        )
        if name and container.status == "running":
            found[name] = container
    assert sorted(found) == sorted(NAMES), found
    return found


def environment_of(deployment: Deployment, primitive: str) -> list[str]:
    """Of the newest container that serves as this primitive."""
    environments = [one.attrs["Config"]["Env"] for one in deployment.containers()]
    return next(one for one in environments if f"APP_SERVED_BY={primitive}" in one)


def test_check_on_an_empty_cloud_predicts_a_deploy_and_makes_nothing(
    deployment: Deployment,
) -> None:
    deployment.must("playbooks/local_cloud.yml")
    run = deployment.must("site.yml", "--check", "--diff")
    assert run.changed > 40
    assert deployment.containers() == []
    assert deployment.resources() == []


def test_site_ends_with_the_endpoint_and_who_answers(deployment: Deployment, site: Run) -> None:
    assert site.endpoint == f"http://127.0.0.1:{deployment.port}/"
    for name in NAMES:
        row = rf"^{name} .* 1  1\.0\.0 +healthy +\d\d +0  33\.[34] %"
        assert re.search(row, site.output, re.MULTILINE), site.output[-2000:]
    assert "ansible-playbook playbooks/destroy.yml" in site.output


def test_every_primitive_answers_alike(deployment: Deployment, site: Run) -> None:
    answers = [deployment.ask() for _ in range(30)]
    assert Counter(answer.served_by for answer in answers) == EVEN
    assert {answer.body for answer in answers} == {b"Hello, Fermyon"}
    assert {answer.release for answer in answers} == {"1.0.0"}
    instances = {(answer.served_by, answer.instance) for answer in answers}
    assert len(instances) == 3
    assert all(instance for _, instance in instances)


def test_service_and_function_run_one_image_without_the_app(machines: dict[str, Any]) -> None:
    assert machines["ecs"].image.id == machines["lambda"].image.id
    for name in NAMES:
        # The image has no commands to look around with; the share is a mount, and no part of it.
        exported = b"".join(machines[name].export())
        with tarfile.open(fileobj=io.BytesIO(exported)) as files:
            assert not [path for path in files.getnames() if path.endswith((".wasm", ".cwasm"))]


def test_all_serve_the_one_file_read_only(deployment: Deployment, machines: dict[str, Any]) -> None:
    inodes = set()
    for name in NAMES:
        # As the container's first process sees it.
        share = Path(f"/proc/{machines[name].attrs['State']['Pid']}/root/mnt/app")
        status = (share / os.readlink(share / "current") / "app.wasm").stat()
        inodes.add((status.st_dev, status.st_ino))
        written = machines[name].exec_run(["sh", "-c", ": > /mnt/app/releases/x"], user="0")
        assert written.exit_code != 0
        assert b"Read-only" in written.output or b"Permission denied" in written.output
    assert len(inodes) == 1, inodes


def test_servers_may_not_write_the_share_wherever_they_mount_it(
    deployment: Deployment, machines: dict[str, Any]
) -> None:
    points = deployment.client("efs").describe_access_points()["AccessPoints"]
    (point,) = [p for p in points if p["Name"] == f"{deployment.name}-servers"]
    (mount,) = [m for m in machines["ecs"].attrs["Mounts"] if m["Destination"] == "/mnt/app"]
    # As a server is on EFS if its role could write: as the access point's user.
    server = docker.from_env().containers.run(
        machines["ecs"].image.id,
        user="{Uid}:{Gid}".format(**point["PosixUser"]),
        volumes=[f"{mount['Source']}:/mnt/app:rw"],
        detach=True,
    )
    try:
        for path in ("x", "current/app.wasm", "releases/x", "releases/.lock"):
            assert server.exec_run(["sh", "-c", f": >>/mnt/app/{path}"]).exit_code != 0, path
        deadline = time.monotonic() + 30
        while b"Serving HTTP" not in (log := server.logs()):
            assert time.monotonic() < deadline, log
            time.sleep(0.1)
        assert b"compiling" not in log, "it takes the precompiled file"
    finally:
        server.remove(force=True, v=True)


def test_each_part_is_the_real_one(machines: dict[str, Any]) -> None:
    def processes(name: str) -> str:
        return str(machines[name].top()["Processes"])

    assert "/sbin/init" in processes("ec2")
    assert "wasmtime serve" in processes("ec2")
    assert "wasmtime serve" in processes("ecs")
    assert "aws-lambda-rie" in processes("lambda")
    assert "lambda-adapter" in processes("lambda")
    for name in ("ecs", "lambda"):
        assert machines[name].attrs["HostConfig"]["ReadonlyRootfs"], name
    assert machines["ecs"].attrs["Config"]["User"] == "1000"


def test_site_again_changes_and_restarts_nothing(deployment: Deployment, machines: Any) -> None:
    before = deployment.running()
    run = deployment.must("site.yml")
    assert run.changed == 0, run.output
    assert deployment.running() == before


def test_check_on_a_running_deployment_predicts_nothing(deployment: Deployment, site: Run) -> None:
    before = deployment.running()
    run = deployment.must("site.yml", "--check", "--diff")
    assert run.changed == 0, run.output
    assert deployment.running() == before


def test_status_shows_the_same_table(deployment: Deployment, site: Run) -> None:
    run = deployment.must("playbooks/status.yml")
    assert run.changed == 0
    assert run.endpoint == site.endpoint
    for name in NAMES:
        assert re.search(rf"^{name} .*healthy", run.output, re.MULTILINE)


def test_limit_deploys_that_primitive_alone(deployment: Deployment, machines: Any) -> None:
    before = deployment.running()
    given = {"function_environment": {"APP_INSTANCE_REUSE": 1}}
    run = deployment.must("site.yml", "--limit", "lambda", "--extra-vars", json.dumps(given))
    assert run.changed > 0
    assert "ec2 " not in run.output.split("PLAY RECAP")[1].split("endpoint:")[0]
    kept = {key: value for key, value in deployment.running().items() if key in before}
    assert machines["ec2"].id in kept
    assert machines["ecs"].id in kept
    assert deployment.count() == EVEN
    assert "APP_INSTANCE_REUSE=1" in environment_of(deployment, "lambda")


def test_destroy_one_primitive_and_bring_it_back(deployment: Deployment, site: Run) -> None:
    deployment.must("playbooks/destroy.yml", "--limit", "ecs")
    assert deployment.count() == Counter({"ec2": 15, "lambda": 15})
    given = {"service_environment": {"APP_INSTANCE_REUSE": 1}}
    deployment.must("site.yml", "--limit", "ecs", "--extra-vars", json.dumps(given))
    assert deployment.count() == EVEN
    assert "APP_INSTANCE_REUSE=1" in environment_of(deployment, "ecs")


def test_a_new_release_reaches_every_primitive(deployment: Deployment, site: Run) -> None:
    deployment.must("site.yml", "--extra-vars", "app_version=1.1.0")
    answers = [deployment.ask() for _ in range(30)]
    assert {answer.release for answer in answers} == {"1.1.0"}
    assert Counter(answer.served_by for answer in answers) == EVEN


def test_destroy_leaves_nothing(deployment: Deployment, site: Run) -> None:
    run = deployment.must("playbooks/destroy.yml")
    assert "there is no container, network, mount, process or file left" in run.text
    assert deployment.containers() == []
    assert deployment.networks() == []
    assert deployment.mounts() == []
    assert deployment.processes() == []
    assert deployment.images() == []
    assert not deployment.home.exists()


def test_destroy_again_has_nothing_to_do(deployment: Deployment, site: Run) -> None:
    run = deployment.must("playbooks/destroy.yml")
    assert "There is nothing to destroy" in run.text
    assert run.changed == 0


def test_every_call_exists_in_the_real_api(deployment: Deployment, site: Run) -> None:
    requests = read(deployment.requests)
    print(requests)
    assert requests.problems == []
    made = {
        "ec2.RunInstances",
        "ecs.CreateService",
        "lambda.CreateFunction",
        "efs.CreateFileSystem",
    }
    assert made <= requests.counts.keys()
    assert {name.replace("Create", "Delete") for name in made if "Create" in name} <= set(
        requests.counts
    )
    # iam_role makes one for every role unless it is told not to, and nothing would remove it.
    profiles = [requests.counts[f"iam.{verb}InstanceProfile"] for verb in ("Create", "Delete")]
    assert profiles[0] == profiles[1]
