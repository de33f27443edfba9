# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real image, pushed by the real engine to MiniStack's registry."""

from __future__ import annotations

import io
import tarfile
import uuid
from collections.abc import Iterator
from typing import Any

import docker
import pytest
from ansible_collections.multicompute.spin.plugins.modules import ecr_image
from ansible_collections.multicompute.spin.tests.unit.plugins._stub import run_module

ZEROS = "sha256:" + "0" * 64


@pytest.fixture
def image() -> Iterator[str]:
    """A local image of a few bytes, with whatever it is tagged as by the test."""
    engine = docker.from_env()
    name = f"multicompute-test-{uuid.uuid4().hex[:8]}"
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        content = name.encode()
        member = tarfile.TarInfo("content")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    engine.api.import_image_from_data(layer.getvalue(), repository=name, tag="1")
    made = engine.images.get(f"{name}:1")
    yield f"{name}:1"
    engine.images.remove(made.id, force=True)


@pytest.fixture
def args(cloud: Any, endpoint: str, image: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    # The registry's own requests name no account and mean the default one.
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "default-account")
    name = f"{image.split(':')[0]}/runtime"
    repository = f"{endpoint.removeprefix('http://')}/{name}"
    return {"source": image, "repository": repository, "tag": "1.0.0"}


def name_of(args: dict[str, Any]) -> str:
    return str(args["repository"]).split("/", 1)[1]


def test_missing_parameter() -> None:
    failed = run_module(ecr_image, {"source": "demo:1", "tag": "1"})
    assert "missing required arguments: repository" in failed["msg"]


def test_missing_repository(args: dict[str, Any]) -> None:
    predicted = run_module(ecr_image, args, check=True)
    assert predicted["changed"] and predicted["digest"] == ZEROS
    failed = run_module(ecr_image, args)
    assert failed["failed"] and "create the repository first" in failed["msg"]


def test_push_once(cloud: Any, args: dict[str, Any]) -> None:
    ecr = cloud("ecr")
    ecr.create_repository(repositoryName=name_of(args))
    predicted = run_module(ecr_image, args, check=True)
    assert predicted["changed"] and predicted["reference"] == f"{args['repository']}@{ZEROS}"
    assert ecr.describe_images(repositoryName=name_of(args))["imageDetails"] == []

    pushed = run_module(ecr_image, args)
    assert pushed["changed"] and pushed["diff"]["before"] == predicted["diff"]["before"]
    [stored] = ecr.describe_images(repositoryName=name_of(args))["imageDetails"]
    assert pushed["digest"] == stored["imageDigest"] and stored["imageTags"] == ["1.0.0"]
    assert pushed["reference"] == f"{args['repository']}@{pushed['digest']}"

    for check in (True, False):
        again = run_module(ecr_image, args, check=check)
        assert not again["changed"] and again["reference"] == pushed["reference"]


def test_what_was_pushed_runs_by_its_reference(cloud: Any, args: dict[str, Any]) -> None:
    cloud("ecr").create_repository(repositoryName=name_of(args))
    reference = run_module(ecr_image, args)["reference"]
    engine = docker.from_env()
    identity = engine.images.get(args["source"]).id
    engine.images.remove(f"{args['repository']}:1.0.0")
    assert engine.images.pull(reference).id == identity


def test_refusals_say_what_to_do(
    cloud: Any, args: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = run_module(ecr_image, args | {"repository": "demo"})
    assert "give registry and name" in failed["msg"]
    cloud("ecr").create_repository(repositoryName=name_of(args))
    failed = run_module(ecr_image, args | {"source": "multicompute-none:1"})
    assert "build it first" in failed["msg"]
    elsewhere = args["repository"].replace("127.0.0.1:", "127.0.0.2:")
    failed = run_module(ecr_image, args | {"repository": elsewhere})
    assert f"Could not push {args['source']} to {elsewhere}:1.0.0" in failed["msg"]
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    assert "Could not push" in run_module(ecr_image, args)["msg"]
