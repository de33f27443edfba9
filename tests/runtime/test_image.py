# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import shutil
import tarfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import docker
import pytest
from docker.models.containers import Container

from .conftest import Play, RunRole, answer

ZEROS = "0" * 64
NAMESPACE = f"multicompute-test-{uuid.uuid4().hex[:8]}"
# What ECS and Lambda allow, and less.
HARDENED: dict[str, Any] = {
    "read_only": True,
    "tmpfs": {"/tmp": "exec"},
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
    "detach": True,
}


@pytest.fixture(scope="module")
def engine() -> docker.DockerClient:
    return docker.from_env()


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {
        "image_build_dir": str(tmp_path_factory.mktemp("build") / "image"),
        "image_namespace": NAMESPACE,
        "wasm_runtime": "wasmtime",
    }


def names(play: Play) -> dict[str, str]:
    tags = play.facts["image_tags"]["amd64"]
    return {name: f"{NAMESPACE}/{name}:{tag}" for name, tag in tags.items()}


@pytest.fixture(scope="module")
def images(
    role: RunRole, variables: dict[str, str], engine: docker.DockerClient
) -> Iterator[dict[str, str]]:
    predicted = role("image", "build", check=True, **variables)
    assert predicted.changed and not Path(variables["image_build_dir"]).exists()
    yield names(role("image", "build", **variables))
    for image in engine.images.list(f"{NAMESPACE}/*"):
        # By name: images of `make site` may be the same ones.
        for name in image.tags:
            if name.startswith(NAMESPACE):
                engine.images.remove(name)


@pytest.fixture
def run(engine: docker.DockerClient) -> Iterator[Callable[..., Container]]:
    started: list[Container] = []

    def start(image: str, *command: str, **options: Any) -> Container:
        name = f"multicompute-test-{uuid.uuid4().hex[:8]}"
        options = HARDENED | options
        container = engine.containers.run(image, list(command) or None, name=name, **options)
        started.append(container)
        return container

    yield start
    for container in started:
        container.remove(force=True, v=True)


@pytest.fixture
def share(tmp_path: Path) -> Path:
    """As the access point leaves it: owned by the images' user."""
    path = tmp_path / "share"
    path.mkdir()
    os.chown(path, 1000, 1000)
    return path


def put(share: Path, app: dict[str, Any]) -> None:
    release = share / "releases" / app["version"]
    with tarfile.open(app["bundle"]) as bundle:
        bundle.extractall(release, filter="data")
    (share / "current").symlink_to(f"releases/{app['version']}")


def test_unchanged_input_builds_nothing(
    role: RunRole, images: dict[str, str], variables: dict[str, str]
) -> None:
    assert set(images) == {"runtime", "publisher"}
    for check in (True, False):
        again = role("image", "build", check=check, **variables)
        assert again.changed == []
        assert names(again) == images


def test_another_base_makes_another_image(
    role: RunRole, images: dict[str, str], variables: dict[str, str], engine: docker.DockerClient
) -> None:
    base = f"{NAMESPACE}/base:1"
    engine.images.get(images["publisher"]).tag(base)
    predicted = role("image", "build", check=True, **variables, image_base=base)
    assert predicted.changed == ["Predict the images"]
    assert not set(images.values()) & set(names(predicted).values())


@pytest.mark.parametrize(
    ("change", "concerned"),
    [
        ({"wasm_runtime_wheel_sha256": {"amd64": ZEROS}}, {"runtime"}),
        ({"wasm_runtime": "spin"}, {"runtime"}),
        ({"image_lambda_adapter_version": "0.9.0"}, {"runtime"}),
        ({"builder_rust_version": "1.86.0"}, {"runtime"}),
        ({"image_base": "debian:none"}, {"runtime", "publisher"}),
        ({"image_architecture": "arm64"}, {"runtime", "publisher"}),
    ],
)
def test_every_input_is_in_the_name(
    role: RunRole,
    images: dict[str, str],
    variables: dict[str, str],
    change: dict[str, Any],
    concerned: set[str],
) -> None:
    given = {"image_lambda_adapter_source": "image"} if "image_architecture" in change else {}
    predicted = role("image", "build", check=True, **variables | change | given)
    [tags] = predicted.facts["image_tags"].values()
    named = {name: f"{NAMESPACE}/{name}:{tag}" for name, tag in tags.items()}
    assert {name for name in images if named[name] != images[name]} == concerned


def test_what_was_collected_is_not_needed_again(
    role: RunRole, images: dict[str, str], variables: dict[str, str]
) -> None:
    shutil.rmtree(variables["image_build_dir"])
    again = role("image", "build", **variables)
    assert again.changed == [] and names(again) == images


def test_runtime_image_serves_what_is_on_the_share(
    images: dict[str, str], app: dict[str, Any], share: Path, run: Callable[..., Container]
) -> None:
    put(share, app)
    container = run(
        images["runtime"],
        environment={"APP_SERVED_BY": "ecs", "APP_INSTANCE": "task-1"},
        volumes={str(share): {"bind": "/mnt/app", "mode": "ro"}},
        ports={"8000/tcp": ("127.0.0.1", None)},
    )
    container.reload()
    status, body, headers = answer(int(container.ports["8000/tcp"][0]["HostPort"]))
    assert (status, body) == (200, "Hello, Fermyon")
    assert headers["x-served-by"] == "ecs"
    assert headers["x-release"] == app["version"]
    assert headers["x-instance"] == "task-1"
    assert b"compiling" not in container.logs(), "the precompiled file was not taken"
    started = time.monotonic()
    container.stop(timeout=10)
    assert time.monotonic() - started < 5, "the stop signal was ignored"


def test_a_kubernetes_pod_in_a_container_of_the_engine(
    role: RunRole,
    images: dict[str, str],
    app: dict[str, Any],
    share: Path,
    run: Callable[..., Container],
) -> None:
    """What a kubelet would do with the role's pod; a real one does in `make test-kubernetes`."""
    put(share, app)
    rendered = role(
        "kubernetes",
        "manifests",
        kubernetes_image=images["runtime"],
        kubernetes_served_by="pi-cluster",
        kubernetes_release=app["version"],
    )
    pod = rendered.facts["kubernetes_manifests"]["deployment.yaml"]["spec"]["template"]["spec"]
    (spec,) = pod["containers"]
    user, limits = pod["securityContext"], spec["resources"]["limits"]
    read_only = {mount["name"]: mount.get("readOnly", False) for mount in spec["volumeMounts"]}
    assert read_only == {"share": True, "tmp": False}
    container = run(
        spec["image"],
        user=f"{user['runAsUser']}:{user['runAsGroup']}",
        read_only=spec["securityContext"]["readOnlyRootFilesystem"],
        cap_drop=spec["securityContext"]["capabilities"]["drop"],
        environment={variable["name"]: variable["value"] for variable in spec["env"]},
        mem_limit=limits["memory"].removesuffix("i"),
        nano_cpus=int(limits["cpu"]) * 10**9,
        ports={f"{spec['ports'][0]['containerPort']}/tcp": ("127.0.0.1", None)},
        volumes={str(share): {"bind": "/mnt/app", "mode": "ro"}},
    )
    container.reload()
    port = int(container.ports["8000/tcp"][0]["HostPort"])
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        status, _body, headers = answer(port, path=spec[probe]["httpGet"]["path"])
        assert (status, headers["x-served-by"]) == (200, "pi-cluster"), probe
        assert headers["x-release"] == app["version"]
    assert headers["x-instance"] == container.id[:12]
    assert b"compiling" not in container.logs()
    # Before a pod ends, the kubelet runs this in it, and it goes on answering.
    sleeps = spec["lifecycle"]["preStop"]["exec"]["command"]
    assert sleeps[0] == "sleep" and container.exec_run(["sleep", "0"]).exit_code == 0
    assert int(sleeps[1]) < pod["terminationGracePeriodSeconds"]
    started = time.monotonic()
    container.stop(timeout=20)
    assert time.monotonic() - started < 10, "it was killed"


def test_runtime_image_holds_no_app_and_runs_as_nobody_special(
    images: dict[str, str],
    engine: docker.DockerClient,
    run: Callable[..., Container],
    tmp_path: Path,
) -> None:
    config = engine.images.get(images["runtime"]).attrs["Config"]
    assert config["User"] == "1000:1000"
    assert config["StopSignal"] == "SIGINT"
    assert config["Entrypoint"] == ["/usr/local/bin/serve"]
    archive = tmp_path / "image.tar"
    with archive.open("wb") as file:
        file.writelines(run(images["runtime"], "true").export())
    with tarfile.open(archive) as image:
        files = {member.name for member in image if member.isfile()}
        adapter = image.extractfile("opt/extensions/lambda-adapter").read()  # type: ignore[union-attr]
    assert "usr/local/bin/wasmtime" in files
    assert not [name for name in files if name.endswith("wasm") or "lambda-rie" in name]
    assert b"/ld-linux" not in adapter, "the adapter is linked to libraries of an image"


def test_runtime_image_is_small_and_can_be_looked_into(
    images: dict[str, str], engine: docker.DockerClient, run: Callable[..., Container]
) -> None:
    assert engine.images.get(images["runtime"]).attrs["Size"] <= 60_000_000
    look = "wasmtime --version && cat /etc/hostname && echo /opt/extensions/*"
    container = run(images["runtime"], "-c", look, entrypoint="sh")
    assert container.wait()["StatusCode"] == 0, container.logs()
    version, hostname, extensions = container.logs().decode().splitlines()
    assert version.startswith("wasmtime ") and hostname == container.id[:12]
    assert extensions == "/opt/extensions/lambda-adapter"


# --- the publisher ------------------------------------------------------------------------------


@pytest.fixture
def bucket(endpoint: str, app: dict[str, Any]) -> Any:
    credentials = {"aws_access_key_id": "x", "aws_secret_access_key": "y"}
    s3 = boto3.resource("s3", endpoint_url=endpoint, region_name="us-east-1", **credentials)
    bucket = s3.create_bucket(Bucket=f"test-{uuid.uuid4().hex[:8]}")
    bucket.upload_file(app["bundle"], "bundles/app.tar")
    return bucket


@pytest.fixture
def publish(
    endpoint: str,
    bucket: Any,
    images: dict[str, str],
    app: dict[str, Any],
    share: Path,
    run: Callable[..., Container],
) -> Callable[..., tuple[int, str]]:
    """Run the publisher's container; arguments replace those of a good run."""

    def call(**options: str) -> tuple[int, str]:
        arguments = {
            "bucket": bucket.name,
            "key": "bundles/app.tar",
            "sha256": app["bundle_sha256"],
            "keep": "2",
        }
        given = [f"--{name}={value}" for name, value in (arguments | options).items()]
        container = run(
            images["publisher"],
            *["publish", *given],
            # The emulator listens on this machine's loopback only.
            network_mode="host",
            volumes={str(share): {"bind": "/mnt/app", "mode": "rw"}},
            environment={
                "AWS_ENDPOINT_URL": endpoint,
                "AWS_REGION": "us-east-1",
                "AWS_ACCESS_KEY_ID": "x",
                "AWS_SECRET_ACCESS_KEY": "y",
            },
        )
        return container.wait()["StatusCode"], container.logs().decode()

    return call


def test_publisher_brings_the_release_to_the_share_and_tells_the_bucket(
    publish: Callable[..., tuple[int, str]], bucket: Any, app: dict[str, Any], share: Path
) -> None:
    for changed in (True, False):
        code, output = publish()
        assert code == 0, output
        assert json.loads(output)["changed"] is changed
        current = share / "current"
        assert os.readlink(current) == f"releases/{app['version']}"
        assert (current / "app.wasm").stat().st_uid == 1000
        state = json.loads(bucket.Object("state.json").get()["Body"].read())
        assert state["active"] == app["version"]
        assert state["releases"][app["version"]]["sha256"] == app["wasm_sha256"]
        assert state["releases"][app["version"]]["files"] == app["files"]
        # The record is made up for by the next run.
        bucket.Object("state.json").delete()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sha256": ZEROS}, f"expected {ZEROS}"),
        ({"key": "bundles/none.tar"}, "bundles/none.tar"),
        ({"bucket": "no-such-bucket"}, "no-such-bucket"),
        ({"keep": "0"}, "at least one release must be kept"),
    ],
)
def test_publisher_refuses_and_changes_nothing(
    publish: Callable[..., tuple[int, str]],
    bucket: Any,
    share: Path,
    options: dict[str, str],
    message: str,
) -> None:
    code, output = publish(**options)
    assert code == 1 and output.startswith("publish: ") and message in output, output
    assert len(output.splitlines()) == 1
    assert not (share / "current").exists()
    assert [item.key for item in bucket.objects.all()] == ["bundles/app.tar"]
