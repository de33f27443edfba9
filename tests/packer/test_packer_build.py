# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module packer_build: images, failures, and what is left of a build that is ended early."""

from __future__ import annotations

import os
import signal
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from ansible_collections.multicompute.spin.tests.local_cloud.conftest import LocalCloud, until

from .conftest import CHECKOUT, MACHINE, TEMPLATES, Run

CONTAINER = str(TEMPLATES / "container.pkr.hcl")
PackerBuild = Callable[..., Run]


@pytest.fixture(scope="module")
def engine() -> docker.DockerClient:
    return docker.from_env()


@pytest.fixture
def container(engine: docker.DockerClient) -> Iterator[dict[str, Any]]:
    """Options of a container build."""
    name = f"multicompute/test-{uuid.uuid4().hex[:8]}"
    yield {
        "template": CONTAINER,
        "builds": ["docker.probe"],
        "content": uuid.uuid4().hex,
        "variables": {"script": "true", "image": name},
    }
    for image in engine.images.list(name):
        engine.images.remove(image.id, force=True)


def containers(engine: docker.DockerClient) -> set[str]:
    """Those that Packer made."""
    running = engine.api.containers()
    return {
        c["Id"] for c in running if any(m["Destination"] == "/packer-files" for m in c["Mounts"])
    }


def test_an_image_is_built_once(packer_build: PackerBuild, container: dict[str, Any]) -> None:
    name = container["variables"]["image"]
    image = {"docker.probe": [{"region": None, "id": f"{name}:1"}]}

    predicted = packer_build("--check", **container).result
    assert (predicted["changed"], predicted["built"]) == (True, ["docker.probe"])
    assert predicted["images"] == {"docker.probe": []}

    run = packer_build(**container)
    assert (run.result["changed"], run.result["images"]) == (True, image)
    assert "docker.probe: Committing the container" in run.progress

    again = packer_build(**container).result
    assert (again["changed"], again["built"], again["images"]) == (False, [], image)
    other = packer_build("--check", **container | {"content": "other"}).result
    assert other["built"] == ["docker.probe"]


def test_a_failure_names_the_step_and_what_it_said_last(
    packer_build: PackerBuild, container: dict[str, Any], engine: docker.DockerClient
) -> None:
    before = containers(engine)
    container["variables"]["script"] = "echo no space, they said; exit 3"
    result = packer_build(**container).result
    assert "docker.probe: Script exited with non-zero exit status: 3" in result["msg"]
    assert "Provisioning with shell script" in result["msg"]
    assert "no space, they said" in result["msg"]
    assert "the step before" not in result["msg"]
    assert containers(engine) <= before
    assert not engine.images.list(container["variables"]["image"])


def test_an_invalid_template_is_refused_by_check_mode_too(
    packer_build: PackerBuild, container: dict[str, Any]
) -> None:
    del container["variables"]["script"]
    for flags in ((), ("--check",)):
        message = packer_build(*flags, **container).result["msg"]
        assert "Unset variable" in message and "script" in message, message


# Programs


def test_the_program_is_chosen_by_option_then_environment(
    packer_build: PackerBuild, container: dict[str, Any]
) -> None:
    named = packer_build(**container, packer="/nowhere/option", PACKER_BIN="/nowhere/variable")
    assert "/nowhere/option does not run" in named.result["msg"]
    named = packer_build(**container, PACKER_BIN="/nowhere/variable")
    assert "/nowhere/variable does not run" in named.result["msg"]
    assert "apt-get install packer" in named.result["msg"]


@pytest.mark.parametrize(
    ("says", "complaint"),
    [
        ("0 0", "cracklib has a program of that name"),
        ("Packer v1.5.6", "is version 1.5.6, older than 1.6.6"),
    ],
)
def test_a_stand_in_for_cracklibs_or_an_old_packer_is_refused(
    packer_build: PackerBuild, container: dict[str, Any], tmp_path: Path, says: str, complaint: str
) -> None:
    program = tmp_path / "packer"
    program.write_text(f"#!/bin/sh\ntouch $1.pwd\necho '{says}'\n")
    program.chmod(0o755)
    assert complaint in packer_build(**container, PACKER_BIN=str(program)).result["msg"]
    assert not (CHECKOUT / "version.pwd").exists()


# A machine image build that is ended early


@pytest.fixture(scope="module")
def source_ami(local_cloud: LocalCloud) -> str:
    subprocess.run(
        ["docker", "build", "--quiet", "--tag", MACHINE]
        + ["--file", "runtime/instance/machine.Dockerfile", "runtime/instance"],
        cwd=CHECKOUT,
        check=True,
    )
    ec2 = local_cloud.client("ec2")
    made: str = ec2.register_image(Name="machine", ImageLocation=MACHINE)["ImageId"]
    return made


@pytest.fixture
def machine(local_cloud: LocalCloud, source_ami: str) -> dict[str, Any]:
    """Options of a machine image build."""
    return {
        "template": str(TEMPLATES / "machine.pkr.hcl"),
        "builds": ["amazon-ebs.probe"],
        "content": uuid.uuid4().hex,
        "variables": {"ec2_endpoint": local_cloud.endpoint, "source_ami": source_ami},
    }


def left(cloud: LocalCloud) -> dict[str, list[str]]:
    """What a build makes for itself."""
    ec2 = cloud.client("ec2")
    instances = [i for r in ec2.describe_instances()["Reservations"] for i in r["Instances"]]
    groups = ec2.describe_security_groups()["SecurityGroups"]
    return {
        "instances": [i["InstanceId"] for i in instances if i["State"]["Name"] != "terminated"],
        "key pairs": [pair["KeyName"] for pair in ec2.describe_key_pairs()["KeyPairs"]],
        "groups": [g["GroupName"] for g in groups if g["GroupName"] != "default"],
    }


NOTHING: dict[str, list[str]] = {"instances": [], "key pairs": [], "groups": []}


def under_way(packer_build: PackerBuild, cloud: LocalCloud, options: dict[str, Any]) -> Run:
    """A build that has made everything that it makes for itself."""
    assert left(cloud) == NOTHING, "a test before this one left something"
    run = packer_build(**options)
    until(lambda: all(left(cloud).values()), 30, "instance, key pair and group")
    return run


def packers(run: Run) -> list[int]:
    """Packer and the processes in which it runs its plugins; the first one is Packer."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,comm="], capture_output=True, text=True)
    lines = [line.split(maxsplit=2) for line in listed.stdout.splitlines()]

    def below(parent: str) -> list[int]:
        children = [(pid, name) for pid, its_parent, name in lines if its_parent == parent]
        direct = [int(pid) for pid, name in children if name == "packer"]
        return direct + [packer for pid, _name in children for packer in below(pid)]

    return below(str(run.process.pid))


def test_a_timeout_lets_packer_take_back_what_it_made(
    packer_build: PackerBuild, local_cloud: LocalCloud, machine: dict[str, Any]
) -> None:
    run = under_way(packer_build, local_cloud, machine | {"timeout": 12})
    message = run.result["msg"]
    assert "stopped after 12 s: set timeout higher" in message
    assert "Removed" not in message, "Packer had removed it by itself"
    assert left(local_cloud) == NOTHING


def test_what_a_killed_packer_leaves_is_removed(
    packer_build: PackerBuild, local_cloud: LocalCloud, machine: dict[str, Any]
) -> None:
    run = under_way(packer_build, local_cloud, machine)
    made = left(local_cloud)
    processes = packers(run)
    os.kill(processes[0], signal.SIGKILL)
    message = run.result["msg"]
    assert "Packer was ended by SIGKILL" in message
    for names in made.values():
        assert names[0] in message
    assert left(local_cloud) == NOTHING
    # Whoever adopted them may take a moment to learn that they ended.
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in processes), 20)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_playbook_that_is_stopped_takes_packer_along(
    packer_build: PackerBuild, local_cloud: LocalCloud, machine: dict[str, Any], number: int
) -> None:
    run = under_way(packer_build, local_cloud, machine)
    processes = packers(run)
    os.killpg(run.process.pid, number)
    until(lambda: left(local_cloud) == NOTHING, 60, "nothing left")
    run.process.wait(60)
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in processes), 20)


def test_a_playbook_that_is_stopped_removes_what_a_killed_packer_leaves(
    packer_build: PackerBuild, local_cloud: LocalCloud, machine: dict[str, Any]
) -> None:
    run = under_way(packer_build, local_cloud, machine)
    processes = packers(run)
    os.killpg(run.process.pid, signal.SIGTERM)
    os.kill(processes[0], signal.SIGKILL)
    until(lambda: left(local_cloud) == NOTHING, 60, "nothing left")
