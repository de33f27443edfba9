"""ECS: tasks mount, log, come and go as on AWS."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import pytest
from botocore.exceptions import ClientError
from botocore.session import Session

from .compute import (
    Share,
    build,
    engine,
    environment,
    first_subnet,
    get,
    pushed,
    remove_containers,
    role,
    share,
    unique,
)
from .conftest import CHECKOUT, REGION, Api, LocalCloud, answers, free_port, until

LOGS = "/tasks"


@dataclass
class Cluster:
    """A cluster, what its tasks use, and short ways to run them."""

    api: Api
    image: str
    share: Share | None = None
    name: str = field(default_factory=lambda: unique("cluster"))

    def __post_init__(self) -> None:
        self.ecs = self.api.client("ecs")
        self.ecs.create_cluster(clusterName=self.name)
        self.subnet = first_subnet(self.api)

    @property
    def network(self) -> dict[str, Any]:
        return {"awsvpcConfiguration": {"subnets": [self.subnet], "assignPublicIp": "DISABLED"}}

    def register(self, *containers: dict[str, Any], **definition: Any) -> str:
        defaults = {
            "family": unique("family"),
            "networkMode": "awsvpc",
            "requiresCompatibilities": ["FARGATE"],
            "cpu": "256",
            "memory": "512",
            "executionRoleArn": "arn:aws:iam::000000000000:role/execution",
            "containerDefinitions": [
                {"name": "probe", "image": self.image, "stopTimeout": 5, **container}
                for container in containers or ({},)
            ],
        }
        answer = self.ecs.register_task_definition(**defaults | definition)
        return answer["taskDefinition"]["taskDefinitionArn"]

    def run(self, *containers: dict[str, Any], **definition: Any) -> str:
        answer = self.ecs.run_task(
            cluster=self.name,
            taskDefinition=self.register(*containers, **definition),
            launchType="FARGATE",
            networkConfiguration=self.network,
        )
        return answer["tasks"][0]["taskArn"]

    def task(self, arn: str) -> dict[str, Any]:
        return self.ecs.describe_tasks(cluster=self.name, tasks=[arn])["tasks"][0]

    def wait(self, arn: str, status: str = "RUNNING") -> dict[str, Any]:
        def reached() -> dict[str, Any] | None:
            task = self.task(arn)
            assert status == "STOPPED" or task["lastStatus"] != "STOPPED", task["stoppedReason"]
            return task if task["lastStatus"] == status else None

        return until(reached, 60, status)

    def address(self, arn: str) -> str:
        return details(self.wait(arn))["privateIPv4Address"]

    def share_volume(self, name: str, iam: str = "ENABLED") -> dict[str, Any]:
        assert self.share
        configuration = {
            "fileSystemId": self.share.id,
            "transitEncryption": "ENABLED",
            "authorizationConfig": {"accessPointId": self.share.access_point, "iam": iam},
        }
        return {"name": name, "efsVolumeConfiguration": configuration}

    def mounting(self, role_arn: str, iam: str = "ENABLED", **point: Any) -> str:
        """A task that mounts the share."""
        return self.run(
            {"mountPoints": [{"sourceVolume": "app", "containerPath": "/mnt/app", **point}]},
            taskRoleArn=role_arn,
            volumes=[self.share_volume("app", iam)],
        )


def details(task: dict[str, Any]) -> dict[str, str]:
    (attachment,) = task["attachments"]
    return {detail["name"]: detail["value"] for detail in attachment["details"]}


@pytest.fixture(scope="module")
def cluster(local_cloud: LocalCloud) -> Iterator[Cluster]:
    with pushed(local_cloud, "probe") as image:
        local_cloud.client("logs").create_log_group(logGroupName=LOGS)
        yield Cluster(local_cloud, image, share(local_cloud))
        local_cloud("purge")  # before its image: a container keeps it


@pytest.fixture(scope="module")
def upstream(plain_ministack: Api) -> Iterator[Cluster]:
    yield Cluster(plain_ministack, build("probe", "multicompute/test-ecs-probe"))
    remove_containers(plain_ministack)
    engine().images.remove("multicompute/test-ecs-probe", force=True)


# File systems


def test_a_share_is_written_by_a_role_that_may_and_read_by_one_that_may_not(
    cluster: Cluster,
) -> None:
    point = cluster.share.access_point_arn
    reader = cluster.mounting(role(cluster.api, "ClientMount", access_point=point))
    writer = cluster.mounting(role(cluster.api, "ClientMount", "ClientWrite"))
    modest = cluster.mounting(role(cluster.api, "ClientMount", "ClientWrite"), readOnly=True)
    assert get(cluster.address(reader), "/read/mnt/app/file") == "from the share"
    refused = "Read-only file system"
    assert get(cluster.address(reader), "/write/mnt/app/new") == refused
    assert get(cluster.address(modest), "/write/mnt/app/new") == refused
    assert get(cluster.address(writer), "/write/mnt/app/new") == "written"
    assert get(cluster.address(reader), "/read/mnt/app/new") == ""


def test_a_task_whose_role_may_not_mount_fails(cluster: Cluster) -> None:
    elsewhere = cluster.share.access_point_arn[:-17] + "0" * 17
    other_action = cluster.mounting(role(cluster.api, "ClientWrite"))
    other_point = cluster.mounting(role(cluster.api, "ClientMount", access_point=elsewhere))
    for arn in (other_action, other_point):
        task = cluster.wait(arn, "STOPPED")
        assert task["stopCode"] == "TaskFailedToStart"
        assert task["stoppedReason"].startswith("ResourceInitializationError")
        assert "may not elasticfilesystem:ClientMount" in task["stoppedReason"]


def test_a_task_whose_zone_has_no_mount_target_fails(cluster: Cluster) -> None:
    subnets = cluster.api.client("ec2").describe_subnets()["Subnets"]
    elsewhere = Cluster(cluster.api, cluster.image, cluster.share)
    elsewhere.subnet = subnets[1]["SubnetId"]
    arn = elsewhere.mounting(role(cluster.api, "ClientMount"))
    zone = subnets[1]["AvailabilityZone"]
    assert f"no available mount target in {zone}" in elsewhere.wait(arn, "STOPPED")["stoppedReason"]


# Containers


@pytest.mark.parametrize(
    ("definition", "reason"),
    [
        ({"networkMode": "bridge"}, "awsvpc"),
        ({"cpu": "256", "memory": "4096"}, "256 CPU, 4096 memory"),
        ({"executionRoleArn": ""}, "execution role"),
        ({"volumes": [{"name": "host", "host": {"sourcePath": "/"}}]}, "sourcePath"),
    ],
)
def test_fargate_refuses_what_it_cannot_run(
    cluster: Cluster, definition: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ClientError, match=reason):
        cluster.register(logging("refused"), **definition)


@pytest.mark.parametrize(
    "parameters",
    [
        {"tmpfs": [{"containerPath": "/tmp", "size": 1}]},
        {"capabilities": {"add": ["SYS_ADMIN"]}},
    ],
)
def test_fargate_refuses_linux_parameters(cluster: Cluster, parameters: dict[str, Any]) -> None:
    with pytest.raises(ClientError, match="on Fargate"):
        cluster.register({"linuxParameters": parameters})


def test_a_task_needs_a_network_that_exists(cluster: Cluster) -> None:
    run, definition = cluster.ecs.run_task, cluster.register()
    request = {"cluster": cluster.name, "taskDefinition": definition, "launchType": "FARGATE"}
    with pytest.raises(ClientError, match="Network Configuration must be provided"):
        run(**request)
    with pytest.raises(ClientError, match="subnet-absent"):
        run(**request, networkConfiguration={"awsvpcConfiguration": {"subnets": ["subnet-absent"]}})


def test_upstream_registers_and_runs_anything(upstream: Cluster) -> None:
    parameters = {"tmpfs": [{"containerPath": "/tmp", "size": 1}]}
    definition = upstream.register(
        {"image": "multicompute/absent:1", "linuxParameters": parameters}, memory="4096"
    )
    assert upstream.ecs.run_task(cluster=upstream.name, taskDefinition=definition)["tasks"]


def test_a_container_is_what_its_definition_says(cluster: Cluster) -> None:
    arn = cluster.run(
        {
            "user": "1000:1000",
            "readonlyRootFilesystem": True,
            "linuxParameters": {"capabilities": {"drop": ["ALL"]}, "initProcessEnabled": True},
            "mountPoints": [
                {"sourceVolume": "tmp", "containerPath": "/tmp"},
                {"sourceVolume": "other", "containerPath": "/other"},
            ],
        },
        volumes=[{"name": "tmp"}, {"name": "other"}],
    )
    address = cluster.address(arn)
    assert get(address, "/id") == "1000 1000"
    assert get(address, "/capabilities") == "0000000000000000"
    assert get(address, "/write/new") == "Read-only file system"
    assert get(address, "/read/proc/1/comm").strip() == "docker-init"
    # Only where the image declares a VOLUME does an empty volume take its owner and mode.
    assert get(address, "/mode/tmp") == "1777 0"
    assert get(address, "/mode/other") == "755 0"
    (container,) = engine().containers.list(filters={"label": f"com.amazonaws.ecs.task-arn={arn}"})
    assert container.attrs["HostConfig"]["Memory"] == 512 * 2**20, "the task's"
    cluster.ecs.stop_task(cluster=cluster.name, task=arn)
    cluster.wait(arn, "STOPPED")
    assert not engine().volumes.list(filters={"label": f"com.amazonaws.ecs.task-arn={arn}"})


def test_the_runtime_image_can_write_its_tmp_as_the_service_runs_it(
    cluster: Cluster, tmp_path: Path
) -> None:
    # In place of Spin: as Spin does, it reads the manifest that serve wrote, and writes its cache.
    (tmp_path / "spin").write_text('#!/bin/sh\ntest -s "$3/spin.toml" && mkdir "$HOME/.cache"\n')
    (tmp_path / "spin").chmod(0o755)
    (tmp_path / "lambda-adapter").touch()
    for name in ("Dockerfile", "serve"):
        shutil.copy(CHECKOUT / "runtime" / name, tmp_path)
    (tmp_path / "adapter").write_text("FROM scratch\nCOPY lambda-adapter /\n")
    adapter, image = unique("multicompute/test-adapter"), unique("multicompute/test-runtime")
    engine().images.build(path=str(tmp_path), tag=adapter, dockerfile="adapter", rm=True)
    arguments = {"ADAPTER_IMAGE": adapter, "WASM_RUNTIME": "spin"}
    engine().images.build(path=str(tmp_path), tag=image, buildargs=arguments, rm=True)
    assert cluster.share
    release = cluster.share.directory / "releases/1.0.0"
    release.mkdir(parents=True)
    (release / "app.wasm").touch()
    arn = cluster.run(
        {
            "image": image,
            "user": "1000",
            "readonlyRootFilesystem": True,
            "linuxParameters": {"capabilities": {"drop": ["ALL"]}},
            "environment": [{"name": "APP_RELEASE", "value": release.name}],
            "mountPoints": [
                {"sourceVolume": "share", "containerPath": "/mnt/app", "readOnly": True},
                {"sourceVolume": "tmp", "containerPath": "/tmp"},
            ],
        },
        volumes=[cluster.share_volume("share"), {"name": "tmp"}],
        taskRoleArn=role(cluster.api, "ClientMount"),
    )
    assert cluster.wait(arn, "STOPPED")["containers"][0]["exitCode"] == 0
    for name in (image, adapter):
        engine().images.remove(name, force=True)


def test_a_container_gets_credentials_and_metadata(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    arn = cluster.run({"environment": [{"name": "OWN", "value": "1"}]})
    task_id = arn.rsplit("/", 1)[-1]
    given = environment(get(cluster.address(arn), "/env"))
    assert given["OWN"] == "1"
    uri = given["ECS_CONTAINER_METADATA_URI_V4"]
    assert uri.rsplit("/", 1)[-1].startswith(f"{task_id}-")
    with urllib.request.urlopen(f"{uri}/task", timeout=5) as response:
        assert arn in response.read().decode()
    # What boto3 makes of that environment: the test's own, but for what the task has.
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    client = Session().create_client("sts")
    assert client.meta.endpoint_url == given["AWS_ENDPOINT_URL"]
    assert client.meta.region_name == REGION
    assert client.get_caller_identity()["Account"] == "000000000000"


def test_a_task_has_a_network_interface_with_its_containers_address(cluster: Cluster) -> None:
    arn = cluster.run()
    address = cluster.address(arn)
    task = cluster.task(arn)
    interface = details(task)
    assert interface["subnetId"] == cluster.subnet
    assert interface["networkInterfaceId"].startswith("eni-")
    (own,) = task["containers"][0]["networkInterfaces"]
    assert own["privateIpv4Address"] == address
    assert own["attachmentId"] == task["attachments"][0]["id"]


def test_containers_start_after_what_they_depend_on(cluster: Cluster) -> None:
    program = ["/usr/bin/perl", "-e"]
    cluster.run(
        {"dependsOn": [{"containerName": "first", "condition": "SUCCESS"}], **logging("order")},
        {
            "name": "first",
            "essential": False,
            "entryPoint": [*program, 'sleep 1; print "first\n"'],
            **logging("order"),
        },
    )
    until(lambda: logged(cluster, "order/probe/"), 30, "the second container")
    assert logged(cluster, "order/") == ["first", "listening"]


def test_an_image_is_pulled_by_digest(cluster: Cluster) -> None:
    local = engine().images.get(cluster.image)
    assert cluster.image in local.attrs["RepoDigests"]
    name = unique("second")
    with pushed(cluster.api, "probe", name) as image:
        engine().images.remove(f"{image.partition('@')[0]}:1")
        with pytest.raises(docker.errors.ImageNotFound):
            engine().images.get(image)
        arn = cluster.run({"image": image})
        assert cluster.wait(arn)
        assert engine().images.get(image)
        described = cluster.api.client("ecr").describe_images(repositoryName=name)["imageDetails"]
        assert [one["imageDigest"] for one in described] == [image.partition("@")[2]]
        cluster.ecs.stop_task(cluster=cluster.name, task=arn)
        cluster.wait(arn, "STOPPED")


# Ends


def logging(prefix: str) -> dict[str, Any]:
    options = {
        "awslogs-group": LOGS,
        "awslogs-region": REGION,
        "awslogs-stream-prefix": prefix,
    }
    return {"logConfiguration": {"logDriver": "awslogs", "options": options}}


def logged(cluster: Cluster, prefix: str) -> list[str]:
    logs = cluster.api.client("logs")
    streams = logs.describe_log_streams(logGroupName=LOGS, logStreamNamePrefix=prefix)["logStreams"]
    names = [stream["logStreamName"] for stream in streams]
    if not names:
        return []
    found = logs.filter_log_events(logGroupName=LOGS, logStreamNames=names)
    return [event["message"] for event in found["events"]]


ONCE = {"command": ["once"], **logging("once")}


def test_a_one_shot_task_says_how_it_ended_and_its_log_is_complete(cluster: Cluster) -> None:
    task = cluster.wait(cluster.run(ONCE), "STOPPED")
    assert task["stopCode"] == "EssentialContainerExited"
    assert task["stoppedReason"] == "Essential container in task exited"
    assert task["containers"][0]["exitCode"] == 4
    assert [len(line) for line in logged(cluster, "once")] == [5, 40000]
    until(lambda: not containers_of(task["taskArn"]), what="its container is gone")


def test_upstream_cuts_long_lines_and_leaves_containers(upstream: Cluster) -> None:
    upstream.api.client("logs").create_log_group(logGroupName=LOGS)
    task = upstream.wait(upstream.run(ONCE), "STOPPED")
    assert task["stoppedReason"] == "Essential container exited"
    until(lambda: len(logged(upstream, "once")) > 2)
    assert containers_of(task["taskArn"])


def containers_of(arn: str) -> list[Any]:
    label = {"label": f"com.amazonaws.ecs.task-arn={arn}"}
    return engine().containers.list(all=True, filters=label, ignore_removed=True)


def test_a_task_that_cannot_log_or_start_fails_and_leaves_nothing(cluster: Cluster) -> None:
    options = {"awslogs-group": "/missing", "awslogs-region": REGION}
    log = {"logConfiguration": {"logDriver": "awslogs", "options": options}}
    unlogged, absent = cluster.run(log), cluster.run({"entryPoint": ["/absent"]})
    reason = cluster.wait(unlogged, "STOPPED")["stoppedReason"]
    assert "log group does not exist: /missing" in reason
    assert "/absent" in cluster.wait(absent, "STOPPED")["stoppedReason"]
    until(lambda: not containers_of(unlogged) + containers_of(absent), what="nothing left")


def test_a_stopped_task_gets_sigterm_and_its_own_exit_code(cluster: Cluster) -> None:
    arn = cluster.run(logging("stop"))
    assert get(cluster.address(arn), "/") == "hello"
    answer = cluster.ecs.stop_task(cluster=cluster.name, task=arn, reason="enough")["task"]
    assert (answer["desiredStatus"], answer["lastStatus"]) != ("STOPPED", "STOPPED")
    task = cluster.wait(arn, "STOPPED")
    assert task["stoppedReason"] == "enough"
    assert task["containers"][0]["exitCode"] == 3
    assert logged(cluster, "stop") == ["listening", "got TERM"]


# Services


@dataclass
class Behind:
    """A load balancer with an empty group of addresses."""

    api: Api
    port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        elb, ec2 = self.api.client("elbv2"), self.api.client("ec2")
        subnets = ec2.describe_subnets()["Subnets"][:2]
        self.group = elb.create_target_group(
            Name=unique("group"),
            Protocol="HTTP",
            Port=8000,
            VpcId=subnets[0]["VpcId"],
            TargetType="ip",
            HealthCheckPath="/health",
            HealthCheckIntervalSeconds=5,
            HealthCheckTimeoutSeconds=2,
            HealthyThresholdCount=2,
            UnhealthyThresholdCount=2,
        )["TargetGroups"][0]["TargetGroupArn"]
        drain = {"Key": "deregistration_delay.timeout_seconds", "Value": "3"}
        elb.modify_target_group_attributes(TargetGroupArn=self.group, Attributes=[drain])
        balancer = elb.create_load_balancer(
            Name=unique("balancer"), Subnets=[subnet["SubnetId"] for subnet in subnets]
        )["LoadBalancers"][0]["LoadBalancerArn"]
        elb.create_listener(
            LoadBalancerArn=balancer,
            Protocol="HTTP",
            Port=self.port,
            DefaultActions=[{"Type": "forward", "TargetGroupArn": self.group}],
        )
        self.elb = elb

    def states(self) -> dict[str, str]:
        health = self.elb.describe_target_health(TargetGroupArn=self.group)
        return {
            one["Target"]["Id"]: one["TargetHealth"]["State"]
            for one in health["TargetHealthDescriptions"]
        }

    def get(self, path: str = "/") -> str:
        url = f"http://127.0.0.1:{self.port}{path}"
        with urllib.request.urlopen(url, timeout=10) as response:
            return response.read().decode()


@pytest.fixture
def behind(cluster: Cluster) -> Behind:
    return Behind(cluster.api)


def service(cluster: Cluster, behind: Behind | None, definition: str) -> str:
    group = {"containerName": "probe", "containerPort": 8000}
    name = unique("service")
    cluster.ecs.create_service(
        cluster=cluster.name,
        serviceName=name,
        taskDefinition=definition,
        desiredCount=1,
        launchType="FARGATE",
        networkConfiguration=cluster.network,
        loadBalancers=[{**group, "targetGroupArn": behind.group}] if behind else [],
    )
    return name


def described(cluster: Cluster, name: str) -> dict[str, Any]:
    return cluster.ecs.describe_services(cluster=cluster.name, services=[name])["services"][0]


def settled(cluster: Cluster, name: str) -> dict[str, Any] | None:
    found = described(cluster, name)
    states = [deployment["rolloutState"] for deployment in found["deployments"]]
    return found if states == ["COMPLETED"] else None


def test_a_service_rolls_and_ends_without_a_failed_request(
    cluster: Cluster, behind: Behind
) -> None:
    ports = {"portMappings": [{"containerPort": 8000}]}
    name = service(cluster, behind, cluster.register(ports))
    assert described(cluster, name)["deployments"][0]["rolloutState"] == "IN_PROGRESS"
    until(lambda: settled(cluster, name), 60, "the first deployment")
    assert list(behind.states().values()) == ["healthy"]
    with requests(behind) as outcomes:
        marked = {**ports, "environment": [{"name": "NEW", "value": "1"}]}
        # The new one needs three seconds before it listens, and must not be counted on before.
        slow = ["/usr/bin/perl", "-e", 'sleep 3; exec "/usr/bin/perl", "/probe.pl"']
        cluster.ecs.update_service(
            cluster=cluster.name,
            service=name,
            taskDefinition=cluster.register({**marked, "entryPoint": slow}),
        )
        until(lambda: settled(cluster, name), 60, "the second deployment")
        assert "NEW=1" in behind.get("/env")
        until(lambda: list(behind.states().values()) == ["healthy"], 30, "the end of draining")
    assert set(outcomes) == {"hello"}
    cluster.ecs.delete_service(cluster=cluster.name, service=name, force=True)
    assert described(cluster, name)["status"] == "DRAINING"
    with pytest.raises(ClientError, match="ClusterContainsServices"):
        cluster.ecs.delete_cluster(cluster=cluster.name)
    until(lambda: described(cluster, name)["status"] == "INACTIVE", 30, "INACTIVE")
    assert behind.states() == {}


class requests:
    """Requests all the time, and what became of them."""

    def __init__(self, behind: Behind) -> None:
        self.behind = behind
        self.ended = threading.Event()
        self.outcomes: list[str] = []
        self.thread = threading.Thread(target=self.send)

    def __enter__(self) -> list[str]:
        self.thread.start()
        return self.outcomes

    def __exit__(self, *_: Any) -> None:
        self.ended.set()
        self.thread.join()

    def send(self) -> None:
        while not self.ended.is_set():
            try:
                self.outcomes.append(self.behind.get())
            except OSError as error:
                self.outcomes.append(str(error))
            time.sleep(0.05)


def test_a_task_that_dies_or_is_ill_is_replaced(cluster: Cluster) -> None:
    check = {"command": ["CMD-SHELL", "! test -e /tmp/ill"], "interval": 1, "retries": 1}
    name = service(cluster, None, cluster.register({"healthCheck": check}))
    until(lambda: settled(cluster, name), 60, "the first deployment")
    (first,) = running(cluster, name)
    assert first["healthStatus"] == "HEALTHY"
    containers_of(first["taskArn"])[0].kill()
    second = until(lambda: others(cluster, name, first), 30, "a replacement")
    get(details(second)["privateIPv4Address"], "/write/tmp/ill")
    until(lambda: others(cluster, name, second), 40, "a replacement of the ill one")
    reason = cluster.wait(second["taskArn"], "STOPPED")["stoppedReason"]
    assert reason == "Task failed container health checks"
    cluster.ecs.delete_service(cluster=cluster.name, service=name, force=True)


def running(cluster: Cluster, name: str) -> list[dict[str, Any]]:
    arns = cluster.ecs.list_tasks(cluster=cluster.name, serviceName=name)["taskArns"]
    tasks = [cluster.task(arn) for arn in arns]
    return [task for task in tasks if task["lastStatus"] == "RUNNING"]


def others(cluster: Cluster, name: str, old: dict[str, Any]) -> dict[str, Any] | None:
    new = [task for task in running(cluster, name) if task["taskArn"] != old["taskArn"]]
    return next((task for task in new if task["healthStatus"] == "HEALTHY"), None)


def test_a_service_whose_tasks_fail_is_slowed_down(cluster: Cluster) -> None:
    name = service(cluster, None, cluster.register({"entryPoint": ["/bin/false"]}))
    time.sleep(8)
    stopped = cluster.ecs.list_tasks(
        cluster=cluster.name, serviceName=name, desiredStatus="STOPPED"
    )["taskArns"]
    cluster.ecs.delete_service(cluster=cluster.name, service=name, force=True)
    assert 2 <= len(stopped) <= 4  # at once, then after 2, 4 ... seconds


def test_a_service_is_served_again_after_a_crash_of_the_api(
    cluster: Cluster, behind: Behind
) -> None:
    name = service(cluster, behind, cluster.register())
    until(lambda: settled(cluster, name), 60, "the deployment")
    (before,) = running(cluster, name)
    time.sleep(3)  # the state is saved by then
    cloud = cluster.api
    os.kill(cloud.pid, signal.SIGKILL)
    until(lambda: not answers(f"{cloud.endpoint}/_ministack/health"))
    cloud("start")
    until(lambda: list(behind.states().values()) == ["healthy"], 60, "the target")
    assert behind.get() == "hello"
    (after,) = running(cluster, name)
    assert after["taskArn"] != before["taskArn"]
    assert not containers_of(before["taskArn"])
    cluster.ecs.delete_service(cluster=cluster.name, service=name, force=True)
    until(lambda: described(cluster, name)["status"] == "INACTIVE", 30, "INACTIVE")


# Upstream


def test_upstream_ignores_most_of_a_definition(upstream: Cluster) -> None:
    efs = upstream.api.client("efs")
    file_system = efs.create_file_system(CreationToken=unique("token"))["FileSystemId"]
    arn = upstream.run(
        {
            "entryPoint": ["/absent"],
            "user": "1000:1000",
            "readonlyRootFilesystem": True,
            "linuxParameters": {"capabilities": {"drop": ["ALL"]}},
            "mountPoints": [
                {"sourceVolume": "app", "containerPath": "/mnt/app"},
                {"sourceVolume": "other", "containerPath": "/other"},
            ],
        },
        volumes=[
            {"name": "app", "efsVolumeConfiguration": {"fileSystemId": file_system}},
            {"name": "other"},
        ],
    )
    address = upstream.address(arn)
    assert get(address, "/id") == "0 0"
    assert get(address, "/capabilities") != "0000000000000000"
    assert get(address, "/write/new") == "written"
    assert get(address, "/mode/mnt/app") == "0 0"  # is not there
    assert get(address, "/mode/other") == "0 0"
    given = environment(get(address, "/env"))
    assert "AWS_ACCESS_KEY_ID" not in given
    assert arn.rsplit("/", 1)[-1] not in given["ECS_CONTAINER_METADATA_URI_V4"]
    assert "networkInterfaceId" not in details(upstream.task(arn))
    answer = upstream.ecs.stop_task(cluster=upstream.name, task=arn)["task"]
    assert answer["lastStatus"] == "STOPPED"
    assert answer["containers"][0]["exitCode"] == 0  # it would be 3


def test_upstream_completes_a_deployment_that_does_not_run(upstream: Cluster) -> None:
    name = service(upstream, None, upstream.register({"image": "multicompute/absent:1"}))
    assert settled(upstream, name)
    upstream.ecs.delete_service(cluster=upstream.name, service=name, force=True)
    assert described(upstream, name)["status"] == "INACTIVE"
