# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/bake.yml with the real Packer: images that carry what they are made of, once."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import docker
import pytest
from ansible_collections.multicompute.spin.tests.local_cloud.conftest import free_port

from .conftest import CHECKOUT, ansible

TEMPLATES = ("packer", "packer/vars", "packer/plugins", "tests/packer/templates")


@dataclass
class Deployment:
    """A deployment of the tests' own."""

    name: str
    api: int
    balancer: int
    build: Path

    def play(self, playbook: str, *arguments: str, fails: bool = False) -> str:
        process = ansible(
            "ansible-playbook",
            playbook,
            *("--extra-vars", f"deployment_name={self.name} packer_build_dir={self.build}"),
            # Destroying removes them, and another test may be building in the checkout's own.
            *("--extra-vars", f"app_build_dir={self.build}/app image_build_dir={self.build}/image"),
            *("--extra-vars", f"local_cloud_port={self.api} load_balancer_port={self.balancer}"),
            *arguments,
        )
        output, errors = process.communicate(timeout=900)
        assert (process.returncode != 0) == fails, output + errors
        return output + errors

    @property
    def ec2(self) -> Any:
        return boto3.client(
            "ec2",
            endpoint_url=f"http://127.0.0.1:{self.api}",
            region_name="us-east-1",
            aws_access_key_id="local-cloud-access",
            aws_secret_access_key="local-cloud-secret",
        )

    def images(self) -> list[dict[str, Any]]:
        found = self.ec2.describe_images(
            Owners=["self"], Filters=[{"Name": "tag:multicompute:image", "Values": ["instance"]}]
        )
        return found["Images"]  # type: ignore[no-any-return]


def said(output: str) -> str:
    """What the play said there is, on one line."""
    return re.sub(r"\s+", " ", output.split("Say what there is]")[1].split("PLAY")[0])


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    name = f"bake-{uuid.uuid4().hex[:6]}"
    made = Deployment(name, free_port(), free_port(), tmp_path_factory.mktemp("bake"))
    yield made
    made.play("playbooks/destroy.yml")


@pytest.fixture(scope="module")
def baked(deployment: Deployment) -> str:
    """The output of the first bake."""
    return deployment.play("playbooks/bake.yml")


# Templates


@pytest.mark.parametrize("folder", TEMPLATES)
def test_templates_are_formatted(folder: str) -> None:
    subprocess.run(["packer", "fmt", "-check", "-diff", CHECKOUT / folder], check=True)


# playbooks/bake.yml


def test_a_prediction_validates_and_makes_nothing(deployment: Deployment) -> None:
    output = deployment.play("playbooks/bake.yml", "--check")
    assert "would bake amazon-ebs.spin, docker.spin" in said(output)
    assert not list(deployment.build.iterdir())
    local = docker.from_env().images.list(f"{deployment.name}/*")
    assert local == []


def test_the_image_carries_what_it_is_made_of(deployment: Deployment, baked: str) -> None:
    (image,) = deployment.images()
    tags = {tag["Key"].removeprefix("multicompute:"): tag["Value"] for tag in image["Tags"]}
    (source,) = deployment.ec2.describe_images(ImageIds=[tags["source-ami"]])["Images"]
    assert source["Name"].startswith("debian-13-amd64-")
    assert tags["runtime"] == "wasmtime"
    assert re.fullmatch(r"[0-9a-f]{64}", tags["content"])
    assert tags["content"][:12] in image["Name"]
    assert tags["deployment"] == deployment.name
    manifest = json.loads((deployment.build / "manifest.json").read_text())
    assert {build["builder_type"] for build in manifest["builds"]} == {"amazon-ebs", "docker"}
    for build in manifest["builds"]:
        assert build["custom_data"] == {
            "architecture": "amd64",
            "collection": tags["collection"],
            "content": tags["content"],
            "docker_base": "debian:trixie-slim",
            "runtime": "wasmtime",
            "runtime-archive": tags["runtime-archive"],
            "runtime-sha256": tags["runtime-sha256"],
            "source_ami": tags["source-ami"],
        }


def test_it_was_tested_before_it_was_kept(baked: str) -> None:
    steps = re.findall(r"^  (\S+\.spin): (.*)", baked, re.M)
    for build, kept in (("amazon-ebs.spin", "Creating AMI"), ("docker.spin", "Committing")):
        of_build = [text for name, text in steps if name == build]
        tested = next(n for n, t in enumerate(of_build) if t.startswith("Running local shell"))
        assert tested < next(n for n, t in enumerate(of_build) if t.startswith(kept))


def test_the_container_image_is_set_up_to_serve(deployment: Deployment, baked: str) -> None:
    (image,) = docker.from_env().images.list(f"{deployment.name}/spin")
    config = image.attrs["Config"]
    assert config["Entrypoint"] == ["/usr/local/bin/serve"]
    assert (config["User"], config["StopSignal"]) == ("1000:1000", "SIGINT")
    assert not config["Cmd"]


def test_a_second_run_bakes_nothing(deployment: Deployment, baked: str) -> None:
    output = deployment.play("playbooks/bake.yml")
    assert said(output) == said(baked)
    assert "amazon-ebs.spin: " not in output
    assert re.search(r"workstation .* changed=0 ", output)
    assert len(deployment.images()) == 1


def test_another_variable_of_a_role_bakes_anew(deployment: Deployment, baked: str) -> None:
    change = "runtime_host_listen=0.0.0.0:8001"
    output = deployment.play("playbooks/bake.yml", "--check", "--extra-vars", change)
    assert "would bake amazon-ebs.spin, docker.spin" in said(output)


def test_graviton_is_planned_with_its_own_source_and_size(
    deployment: Deployment, baked: str
) -> None:
    output = said(deployment.play("playbooks/bake.yml", "-e", "packer_architecture=arm64"))
    found = deployment.ec2.describe_images(
        Owners=["self"], Filters=[{"Name": "name", "Values": ["debian-13-arm64-*"]}]
    )["Images"]
    assert [image["Architecture"] for image in found] == ["arm64"]
    assert f"from {found[0]['ImageId']} on t4g.small" in output
    assert "would bake amazon-ebs.spin" in output
    assert "docker.spin" not in output


@pytest.mark.parametrize(
    ("variable", "complaint"),
    [
        ("packer_architecture=riscv64", "packer_architecture is 'riscv64': set amd64 or arm64"),
        ("packer_source_ami_name=absent-*", "set packer_source_ami to an ID"),
        ("machine_image=frozen", "machine_image is 'frozen': set built or baked"),
    ],
)
def test_bad_input_ends_before_anything_is_baked(
    deployment: Deployment, baked: str, variable: str, complaint: str
) -> None:
    output = deployment.play("playbooks/bake.yml", "--extra-vars", variable, fails=True)
    assert complaint in re.sub(r"\s+", " ", output)
    assert len(deployment.images()) == 1


# site.yml


@pytest.fixture(scope="module")
def instance(deployment: Deployment, baked: str) -> dict[str, Any]:
    deployment.play("site.yml", "--limit", "account,workstation,ec2")
    reservations = deployment.ec2.describe_instances()["Reservations"]
    (found,) = [i for r in reservations for i in r["Instances"]]
    return found  # type: ignore[no-any-return]


def test_the_instance_is_launched_from_the_baked_image(
    deployment: Deployment, instance: dict[str, Any]
) -> None:
    (image,) = deployment.images()
    assert instance["ImageId"] == image["ImageId"]
    with urllib.request.urlopen(f"http://127.0.0.1:{deployment.balancer}/") as answer:
        assert answer.read() == b"Hello, Fermyon"
        assert answer.headers["x-served-by"] == "ec2"
        assert answer.headers["x-instance"] == instance["InstanceId"]
