"""What the tests of ECS, Lambda and EC2 share: images in the registry, file systems and roles."""

from __future__ import annotations

import json
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import docker

from .conftest import CHECKOUT, REGION, Api, LocalCloud, until

IMAGES = Path(__file__).parent / "images"
RIE = CHECKOUT / ".cache/lambda-rie"

_numbers = count()


@cache
def engine() -> docker.DockerClient:
    return docker.from_env(timeout=120)


def unique(word: str) -> str:
    return f"{word}-{next(_numbers)}"


def build(name: str, tag: str) -> str:
    engine().images.build(path=str(IMAGES), dockerfile=f"{name}.dockerfile", tag=tag, rm=True)
    return tag


@contextmanager
def pushed(cloud: Api, name: str, repository: str = "") -> Iterator[str]:
    """An image of this folder in the cloud's registry; its reference by digest."""
    cloud.client("ecr").create_repository(repositoryName=repository or name)
    repository = f"localhost:{cloud.port}/{repository or name}"
    build(name, f"{repository}:1")
    said = [json.loads(line) for line in engine().images.push(repository, "1").splitlines()]
    digests = [line["aux"]["Digest"] for line in said if "aux" in line]
    assert digests, said
    yield f"{repository}@{digests[0]}"
    tags = {tag for image in engine().images.list(repository) for tag in image.tags}
    for tag in tags & {f"{repository}:1"}:
        engine().images.remove(tag, force=True)
    with suppress(docker.errors.ImageNotFound):
        engine().images.remove(f"{repository}@{digests[0]}", force=True)


def remove_containers(upstream: Api) -> None:
    """What plain MiniStack leaves behind, with the volumes that it forgets."""
    label = {"label": f"ministack.instance={socket.gethostname()}:{upstream.port}"}
    for container in engine().containers.list(all=True, filters=label, ignore_removed=True):
        container.remove(force=True, v=True)


@dataclass
class Share:
    """A file system with a mount target in one zone, and an access point on /app."""

    id: str
    access_point: str
    access_point_arn: str
    subnet: str
    directory: Path


def share(cloud: LocalCloud) -> Share:
    efs, subnet = cloud.client("efs"), first_subnet(cloud)
    made = efs.create_file_system(CreationToken=unique("share"))
    id_ = made["FileSystemId"]
    until(lambda: state(efs.describe_file_systems(FileSystemId=id_)) == "available")
    point = efs.create_access_point(
        ClientToken=unique("point"),
        FileSystemId=id_,
        PosixUser={"Uid": 1000, "Gid": 1000},
        RootDirectory={
            "Path": "/app",
            "CreationInfo": {"OwnerUid": 1000, "OwnerGid": 1000, "Permissions": "755"},
        },
    )
    efs.create_mount_target(FileSystemId=id_, SubnetId=subnet)
    until(lambda: state(efs.describe_mount_targets(FileSystemId=id_)) == "available")
    directory = cloud.home / "efs" / id_ / "app"
    (directory / "file").write_text("from the share")
    return Share(id_, point["AccessPointId"], point["AccessPointArn"], subnet, directory)


def state(answer: dict[str, Any]) -> str | None:
    """Of the one resource in a Describe answer of EFS."""
    (found,) = next(value for key, value in answer.items() if key != "ResponseMetadata") or [{}]
    return found.get("LifeCycleState")


def first_subnet(cloud: Api) -> str:
    return cloud.client("ec2").describe_subnets()["Subnets"][0]["SubnetId"]


def role(cloud: Api, *actions: str, access_point: str = "*") -> str:
    """A role that may do this with every file system, through this access point; its ARN."""
    iam, name = cloud.client("iam"), unique("role")
    arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    if actions:
        allowed = [f"elasticfilesystem:{action}" for action in actions]
        resource = f"arn:aws:elasticfilesystem:{REGION}:*:file-system/*"
        condition = {"StringLike": {"elasticfilesystem:AccessPointArn": access_point}}
        statement: dict[str, Any] = {"Effect": "Allow", "Action": allowed, "Resource": resource}
        if access_point != "*":
            statement["Condition"] = condition
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam.put_role_policy(RoleName=name, PolicyName="efs", PolicyDocument=policy)
    return arn


def get(address: str, path: str) -> str:
    """A GET of the probe, once it listens."""

    def attempt() -> list[str]:
        try:
            with urllib.request.urlopen(f"http://{address}:8000{path}", timeout=5) as response:
                return [response.read().decode()]
        except OSError:
            return []  # not yet

    (answer,) = until(attempt, 10, path)
    return answer


def environment(text: str) -> dict[str, str]:
    return dict(line.partition("=")[::2] for line in text.splitlines())
