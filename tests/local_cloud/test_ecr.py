"""ECR: images are pushed to the URI that the API gives, and are no burden on the state."""

from __future__ import annotations

import json
import os
import signal
import time
import uuid
from typing import Any

import docker
import pytest
from botocore.exceptions import ClientError

from .compute import engine, pushed
from .conftest import Api, LocalCloud, answers, until


def push(api: Api) -> list[dict[str, Any]]:
    """What the engine says to a push to a new repository's URI."""
    client = docker.from_env()
    uri = api.client("ecr").create_repository(repositoryName=f"probe/{uuid.uuid4().hex[:8]}")[
        "repository"
    ]["repositoryUri"]
    client.images.get("debian:trixie-slim").tag(uri, "1")
    try:
        return list(client.images.push(uri, "1", stream=True, decode=True))
    finally:
        client.images.remove(f"{uri}:1")


def test_an_image_is_pushed_to_the_repository_uri(local_cloud: LocalCloud) -> None:
    said = push(local_cloud)
    assert not [line for line in said if "error" in line]
    assert said[-1]["aux"]["Digest"].startswith("sha256:")


def test_an_image_survives_a_crash_and_its_layers_are_not_in_the_state(
    local_cloud: LocalCloud,
) -> None:
    with pushed(local_cloud, "probe", "team/probe") as image:
        layers = list((local_cloud.home / "registry").glob("*/*/team%2Fprobe/sha256:*"))
        assert sum(layer.stat().st_size for layer in layers) > 10_000_000
        time.sleep(3)  # the state is saved by then
        assert (local_cloud.home / "state/ecr.json").stat().st_size < 20_000
        os.kill(local_cloud.pid, signal.SIGKILL)
        until(lambda: not answers(f"{local_cloud.endpoint}/_ministack/health"))
        local_cloud("start")
        engine().images.remove(f"{image.partition('@')[0]}:1")
        engine().images.pull(image)
        local_cloud.client("ecr").delete_repository(repositoryName="team/probe", force=True)
        assert not any(layer.exists() for layer in layers)


def test_upstream_repository_uri_is_not_where_the_registry_answers(plain_ministack: Api) -> None:
    repository = plain_ministack.client("ecr").create_repository(repositoryName="probe/upstream")
    # Pushing there would leave this machine: the name is enough to show the gap.
    assert str(plain_ministack.port) not in repository["repository"]["repositoryUri"]


POLICY = json.dumps(
    {
        "rules": [
            {
                "rulePriority": 1,
                "selection": {
                    "tagStatus": "any",
                    "countType": "imageCountMoreThan",
                    "countNumber": 10,
                },
                "action": {"type": "expire"},
            }
        ]
    }
)


def read_policy_twice(api: Api) -> set[Any]:
    """When the policy was evaluated last, as answers some time apart say."""
    client = api.client("ecr")
    name = f"probe/{uuid.uuid4().hex[:8]}"
    client.create_repository(repositoryName=name)
    client.put_lifecycle_policy(repositoryName=name, lifecyclePolicyText=POLICY)
    said = set()
    for _ in range(2):
        said.add(client.get_lifecycle_policy(repositoryName=name)["lastEvaluatedAt"])
        time.sleep(1.1)
    return said


def test_reading_a_lifecycle_policy_does_not_evaluate_it(local_cloud: LocalCloud) -> None:
    assert len(read_policy_twice(local_cloud)) == 1


def test_upstream_evaluates_a_lifecycle_policy_with_each_reading(plain_ministack: Api) -> None:
    assert len(read_policy_twice(plain_ministack)) == 2


def ask_for_a_tag(api: Api) -> list[dict[str, Any]]:
    client = api.client("ecr")
    name = f"probe/{uuid.uuid4().hex[:8]}"
    client.create_repository(repositoryName=name)
    return client.describe_images(repositoryName=name, imageIds=[{"imageTag": "1"}])["imageDetails"]


def test_an_image_that_is_not_there_is_an_error(local_cloud: LocalCloud) -> None:
    with pytest.raises(ClientError, match="ImageNotFoundException"):
        ask_for_a_tag(local_cloud)


def test_upstream_describes_no_image(plain_ministack: Api) -> None:
    assert ask_for_a_tag(plain_ministack) == []
