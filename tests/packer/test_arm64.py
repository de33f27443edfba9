# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/bake.yml for Graviton: the machine image is planned, and the container image is made
here and serves the very file that amd64 serves.

This machine's processor is emulated by QEMU in user mode. Without the kernel's help it emulates one
program, not those that this one starts: so what `serve` finds is a script that calls QEMU again.
"""

from __future__ import annotations

import os
import re
import tarfile
from pathlib import Path
from typing import Any

import docker
import pytest
from ansible_collections.multicompute.spin.tests.runtime.conftest import (
    RunRole,
    answer,
    app,
    role,
)

from .conftest import Deployment, said

__all__ = ["app", "role"]

EMULATOR = "multicompute/test-emulator"
VERSION = "1.0.0"

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="emulates on x86_64")


@pytest.fixture(scope="module")
def engine() -> docker.DockerClient:
    return docker.from_env()


@pytest.fixture(scope="module")
def emulation(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of static programs for this machine, to be mounted at /emulation."""
    context = tmp_path_factory.mktemp("emulator")
    (context / "Dockerfile").write_text(
        "FROM debian:trixie-slim\n"
        "RUN apt-get -qq update && apt-get -qq install --yes --no-install-recommends"
        " busybox-static qemu-user-static\n"
    )
    engine.images.build(path=str(context), tag=EMULATOR, rm=True)
    folder = tmp_path_factory.mktemp("emulation")
    engine.containers.run(
        EMULATOR,
        ["cp", "-L", "/usr/bin/busybox", "/usr/bin/qemu-aarch64-static", "/emulation"],
        volumes=[f"{folder}:/emulation"],
        remove=True,
    )
    script = folder / "wasmtime"
    script.write_text(
        "#!/emulation/busybox sh\n"
        'exec /emulation/qemu-aarch64-static /usr/local/bin/wasmtime "$@"\n'
    )
    script.chmod(0o755)
    folder.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def baked(deployment: Deployment) -> str:
    """What the playbook says there is."""
    return said(deployment.play("playbooks/bake.yml", "-e", "packer_architecture=arm64"))


@pytest.fixture(scope="module")
def image(deployment: Deployment, baked: str) -> str:
    found = re.search(rf" {deployment.name}/runtime:arm64-[0-9a-f]{{12}}", baked)
    assert found, baked
    return found[0].strip()


@pytest.fixture(scope="module")
def release(app: dict[str, Any], role: RunRole, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The release that amd64 serves, with precompiled files for both."""
    both = role(
        "app",
        app_build_dir=str(tmp_path_factory.mktemp("app")),
        app_architectures=["amd64", "arm64"],
        app_wasm=str(next(Path(app["directory"]).glob("app-*.wasm"))),
        wasm_runtime="wasmtime",
    ).facts["app_release"]
    assert both["wasm_sha256"] == app["wasm_sha256"]
    share = tmp_path_factory.mktemp("share")
    directory = share / "releases" / VERSION
    with tarfile.open(both["bundle"]) as bundle:
        bundle.extractall(directory, filter="data")
    (share / "current").symlink_to(f"releases/{VERSION}")
    for path in (share, directory, directory / "aot"):
        path.chmod(0o755)
    return share


def test_the_machine_image_is_planned_with_its_own_source_and_size(
    deployment: Deployment, baked: str
) -> None:
    found = deployment.ec2.describe_images(
        Owners=["self"], Filters=[{"Name": "name", "Values": ["debian-13-arm64-*"]}]
    )["Images"]
    assert [image["Architecture"] for image in found] == ["arm64"]
    assert f"from {found[0]['ImageId']} on t4g.small" in baked
    assert "would bake amazon-ebs.spin" in baked
    assert "arm64" not in [image["Architecture"] for image in deployment.images()]


def test_the_image_is_for_arm64_and_small(engine: docker.DockerClient, image: str) -> None:
    attributes = engine.images.get(image).attrs
    assert attributes["Architecture"] == "arm64"
    assert attributes["Size"] < 65e6


def test_what_is_in_it_is_for_arm64(engine: docker.DockerClient, image: str) -> None:
    container = engine.containers.create(image, platform="linux/arm64")
    try:
        for path in ("/opt/extensions/lambda-adapter", "/usr/local/bin/wasmtime", "/bin/sh"):
            content = b"".join(container.get_archive(path)[0])
            header = content[512:532]  # behind the header of tar
            assert (header[:4], header[18]) == (b"\x7fELF", 183), path
    finally:
        container.remove()


@pytest.mark.parametrize("precompiled", [True, False])
def test_it_answers_from_the_same_file(
    engine: docker.DockerClient, image: str, emulation: Path, release: Path, precompiled: bool
) -> None:
    options = {} if precompiled else {"tmpfs": {f"/mnt/app/releases/{VERSION}/aot": ""}}
    container = engine.containers.run(
        image,
        ["/bin/sh", "/usr/local/bin/serve"],
        entrypoint="/emulation/qemu-aarch64-static",
        platform="linux/arm64",
        environment={"PATH": "/emulation:/bin"},
        volumes=[f"{emulation}:/emulation:ro", f"{release}:/mnt/app:ro"],
        ports={"8000/tcp": ("127.0.0.1", None)},
        detach=True,
        **options,
    )
    try:
        container.reload()
        port = int(container.ports["8000/tcp"][0]["HostPort"])
        status, body, headers = answer(port, 120)
        log = container.logs().decode()
        assert (status, body, headers["x-release"]) == (200, "Hello, Fermyon", VERSION), log
        assert ("-arm64.cwasm" in log and "compiling" in log) == (not precompiled), log
    finally:
        container.remove(force=True, v=True)
