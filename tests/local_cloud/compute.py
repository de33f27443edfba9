"""What the tests of ECS, Lambda and EC2 share: images in the registry, file systems and roles."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import docker

from .conftest import CHECKOUT, REGION, Api, LocalCloud, until

IMAGES = Path(__file__).parent / "images"
RIE = CHECKOUT / ".cache/lambda-rie"

engine = docker.from_env(timeout=120)
_numbers = count()


def unique(word: str) -> str:
    return f"{word}-{next(_numbers)}"


def build(name: str, tag: str) -> str:
    engine.images.build(path=str(IMAGES), dockerfile=f"{name}.dockerfile", tag=tag, rm=True)
    return tag


@contextmanager
def pushed(cloud: Api, name: str) -> Iterator[str]:
    """An image of this folder in the cloud's registry; its reference by digest."""
    repository = f"localhost:{cloud.port}/{name}"
    cloud.client("ecr").create_repository(repositoryName=name)
    build(name, f"{repository}:1")
    said = [json.loads(line) for line in engine.images.push(repository, "1").splitlines()]
    digests = [line["aux"]["Digest"] for line in said if "aux" in line]
    assert digests, said
    yield f"{repository}@{digests[0]}"
    engine.images.remove(f"{repository}:1", force=True)
    for left in engine.images.list(repository):
        engine.images.remove(left.id, force=True)


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


def role(cloud: Api, *actions: str) -> str:
    """A role that may do this with every file system; its ARN."""
    iam, name = cloud.client("iam"), unique("role")
    arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    if actions:
        allowed = [f"elasticfilesystem:{action}" for action in actions]
        resource = f"arn:aws:elasticfilesystem:{REGION}:*:file-system/*"
        statement = {"Effect": "Allow", "Action": allowed, "Resource": resource}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam.put_role_policy(RoleName=name, PolicyName="efs", PolicyDocument=policy)
    return arn


def get(address: str, path: str) -> str:
    """A GET of the probe, once it listens."""

    def attempt() -> str | None:
        try:
            with urllib.request.urlopen(f"http://{address}:8000{path}", timeout=5) as response:
                return response.read().decode()
        except urllib.error.HTTPError as error:
            return f"status {error.code}"
        except OSError:
            return None

    answer = until(lambda: (attempt(),) if attempt() is not None else None, 10, path)
    return answer[0]


def environment(text: str) -> dict[str, str]:
    return dict(line.partition("=")[::2] for line in text.splitlines())
