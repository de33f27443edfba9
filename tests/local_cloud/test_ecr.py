"""ECR: images are pushed to the URI that the API gives."""

from __future__ import annotations

import uuid
from typing import Any

import docker

from .conftest import Api, LocalCloud


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


def test_upstream_repository_uri_is_not_where_the_registry_answers(plain_ministack: Api) -> None:
    repository = plain_ministack.client("ecr").create_repository(repositoryName="probe/upstream")
    # Pushing there would leave this machine: the name is enough to show the gap.
    assert str(plain_ministack.port) not in repository["repository"]["repositoryUri"]
