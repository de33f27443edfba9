"""Start, stop, crash and purge of a local cloud."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import docker
import pytest
from ministack.core import container_reaper

from .conftest import Api, LocalCloud, answers, free_port, until


@pytest.fixture
def cloud(make_local_cloud: Callable[..., LocalCloud]) -> LocalCloud:
    return make_local_cloud()


def vpcs(api: Api) -> set[str]:
    found = api.client("ec2").describe_vpcs(Filters=[{"Name": "cidr", "Values": ["10.9.0.0/16"]}])
    return {vpc["VpcId"] for vpc in found["Vpcs"]}


def listening(port: int) -> set[str]:
    lines = subprocess.run(["ss", "-Hltn"], capture_output=True, text=True, check=True).stdout
    addresses = [line.split()[3] for line in lines.splitlines()]
    return {a.rpartition(":")[0] for a in addresses if a.endswith(f":{port}")}


def test_start_and_stop_are_idempotent_and_keep_state(cloud: LocalCloud) -> None:
    running = {"running": True, "endpoint": cloud.endpoint}
    assert cloud("start") == {"changed": True, **running}
    assert cloud("start") == {"changed": False, **running}
    vpc = cloud.client("ec2").create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    assert cloud("stop") == {"changed": True}
    assert cloud("stop") == {"changed": False}
    assert cloud("status")["running"] is False
    cloud("start")
    assert vpcs(cloud) == {vpc}


def test_a_start_that_is_interrupted_or_doubled_ends_in_one_running_cloud(
    cloud: LocalCloud,
) -> None:
    interrupted = subprocess.Popen(cloud.command("start"), env=cloud.variables)
    time.sleep(0.7)
    interrupted.send_signal(signal.SIGINT)
    interrupted.wait()
    starts = [subprocess.Popen(cloud.command("start"), env=cloud.variables) for _ in range(2)]
    assert [start.wait() for start in starts] == [0, 0]
    assert cloud("status")["running"] is True
    assert cloud("start")["changed"] is False


def test_state_survives_kill_9(cloud: LocalCloud) -> None:
    cloud("start")
    vpc = cloud.client("ec2").create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    until(lambda: vpc in _saved(cloud, "ec2"), what="the periodic save")
    os.kill(cloud.pid, signal.SIGKILL)
    until(lambda: not answers(f"{cloud.endpoint}/_ministack/health"))
    assert cloud("status")["running"] is False
    assert cloud("start")["changed"] is True
    assert vpcs(cloud) == {vpc}


def _saved(cloud: Api, service: str) -> str:
    path = cloud.home / f"state/{service}.json"
    return path.read_text() if path.exists() else ""


def test_upstream_saves_nothing_before_it_ends(plain_ministack: Api) -> None:
    plain_ministack.client("ec2").create_vpc(CidrBlock="10.9.0.0/16")
    time.sleep(5)
    assert _saved(plain_ministack, "ec2") == ""


def test_the_port_in_use_is_named_with_its_holder(cloud: LocalCloud) -> None:
    with socket.create_server(("127.0.0.1", cloud.port)):
        result = cloud.run("start")
    assert result.returncode == 1
    assert f"port {cloud.port} is in use by" in result.stderr
    assert f"(pid {os.getpid()})" in result.stderr
    assert "local_cloud_port" in result.stderr


def test_a_load_balancer_port_in_use_is_named_before_anything_starts(cloud: LocalCloud) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        for command in ("check", "start"):
            result = cloud.run(command, "--load-balancer-port", str(port))
            assert result.returncode == 1
            assert f"port {port} is in use by" in result.stderr
            assert f"(pid {os.getpid()})" in result.stderr
            assert "set load_balancer_port to a free port" in result.stderr
        assert cloud("status")["running"] is False
    assert cloud("check", "--load-balancer-port", str(port))["changed"] is True


def test_docker_that_is_not_running_is_named(cloud: LocalCloud) -> None:
    broken = LocalCloud(
        cloud.port, cloud.home, cloud.name, {"DOCKER_HOST": "unix:///nowhere/docker.sock"}
    )
    result = broken.run("start")
    assert result.returncode == 1
    assert "Docker is not reachable at unix:///nowhere/docker.sock" in result.stderr
    assert "make setup" in result.stderr


def test_a_daemon_that_ends_at_start_shows_its_log(cloud: LocalCloud) -> None:
    foreign = docker.from_env().networks.create(f"multicompute-{cloud.name}")
    try:
        result = cloud.run("start")
    finally:
        foreign.remove()
    assert result.returncode == 1
    assert f"network with name multicompute-{cloud.name} already exists" in result.stderr


def test_it_listens_on_loopback_and_on_its_own_gateway_only(local_cloud: LocalCloud) -> None:
    network = docker.from_env().networks.get(f"multicompute-{local_cloud.name}")
    gateway = network.attrs["IPAM"]["Config"][0]["Gateway"]
    assert listening(local_cloud.port) == {"127.0.0.1", gateway}


def test_another_port_for_a_running_cloud_is_refused(local_cloud: LocalCloud) -> None:
    other = LocalCloud(free_port(), local_cloud.home, local_cloud.name)
    assert f"already runs on port {local_cloud.port}" in other.run("start").stderr


@pytest.mark.parametrize("command", ["start", "purge"])
def test_the_name_of_a_cloud_in_another_home_is_refused(
    command: str, local_cloud: LocalCloud, tmp_path: Path
) -> None:
    other = LocalCloud(free_port(), tmp_path, local_cloud.name)
    refusal = f"the name belongs to the local cloud in {local_cloud.home}"
    assert refusal in other.run(command).stderr
    assert local_cloud("status")["running"] is True


def test_a_restart_removes_orphans_and_purge_everything_but_nothing_of_another_cloud(
    cloud: LocalCloud, local_cloud: LocalCloud
) -> None:
    client = docker.from_env()
    cloud("start")
    other = start_container(client, local_cloud)
    orphan = start_container(client, cloud)
    cloud("stop")
    assert containers(client, cloud) == {orphan: "running"}  # stop leaves them
    cloud("start")
    assert containers(client, cloud) == {}

    client.containers.get(start_container(client, cloud)).commit("multicompute-test/committed")
    mount = cloud.home / "mount"
    mount.mkdir()
    subprocess.run(["mount", "--bind", cloud.home / "state", mount], check=True)
    pid = cloud.pid
    assert cloud("purge") == {"changed": True}
    assert not cloud.home.exists()
    assert str(mount) not in Path("/proc/self/mounts").read_text()
    assert not client.networks.list(names=[f"multicompute-{cloud.name}"])
    assert not client.images.list("multicompute-test/committed")
    assert containers(client, cloud) == {}
    assert ended(pid)
    assert cloud("purge") == {"changed": False}

    assert local_cloud("status")["running"] is True
    assert containers(client, local_cloud) == {other: "running"}
    client.containers.get(other).remove(force=True)


def test_upstream_tells_clouds_apart_by_their_port_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_PORT", "4566")
    assert container_reaper.instance_id() == f"{socket.gethostname()}:4566"


def ended(pid: int) -> bool:
    """Whether the process is gone, or waits for a container's init that reaps nothing."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def containers(client: docker.DockerClient, cloud: LocalCloud) -> dict[str, str]:
    """Status by ID."""
    label = f"multicompute.local-cloud={cloud.name}"
    found = client.containers.list(all=True, filters={"label": label}, ignore_removed=True)
    return {container.id: container.status for container in found}


def start_container(client: docker.DockerClient, cloud: LocalCloud) -> str:
    container = client.containers.run(
        "debian:trixie-slim",
        ["sleep", "300"],
        detach=True,
        init=True,
        network=f"multicompute-{cloud.name}",
        labels={"multicompute.local-cloud": cloud.name},
    )
    return container.id
