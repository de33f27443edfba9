# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""site.yml launches what the real Packer bakes for it. The playbook itself: molecule/packer."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.request

import pytest

from .conftest import CHECKOUT, Deployment, said

TEMPLATES = ("packer", "packer/vars", "packer/plugins", "tests/packer/templates")


@pytest.mark.parametrize("folder", TEMPLATES)
def test_templates_are_formatted(folder: str) -> None:
    subprocess.run(["packer", "fmt", "-check", "-diff", CHECKOUT / folder], check=True)


@pytest.fixture(scope="module")
def site(deployment: Deployment) -> str:
    """The output of a first run, for which no machine image has been baked yet."""
    chosen = ("--limit", "account,workstation,ec2", "--extra-vars", "machine_image=baked")
    return deployment.play("site.yml", *chosen)


def test_the_instance_is_launched_from_an_image_that_was_baked_for_it(
    deployment: Deployment, site: str
) -> None:
    (image,) = deployment.images()
    reservations = deployment.ec2.describe_instances()["Reservations"]
    (instance,) = [
        i
        for r in reservations
        for i in r["Instances"]
        if {"Key": "Name", "Value": f"{deployment.name}-ec2"} in i.get("Tags", [])
    ]
    assert instance["ImageId"] == image["ImageId"]
    with urllib.request.urlopen(f"http://127.0.0.1:{deployment.balancer}/") as answer:
        assert answer.read() == b"Hello, Fermyon"
        assert answer.headers["x-served-by"] == "ec2"
        assert answer.headers["x-instance"] == instance["InstanceId"]


def test_the_image_carries_what_it_is_made_of(deployment: Deployment, site: str) -> None:
    (image,) = deployment.images()
    tags = {tag["Key"].removeprefix("multicompute:"): tag["Value"] for tag in image["Tags"]}
    (source,) = deployment.ec2.describe_images(ImageIds=[tags["source-ami"]])["Images"]
    assert source["Name"].startswith("debian-13-amd64-")
    assert tags["runtime"] == "wasmtime"
    assert re.fullmatch(r"[0-9a-f]{64}", tags["content"])
    assert tags["content"][:12] in image["Name"]
    assert tags["deployment"] == deployment.name
    manifest = json.loads((deployment.build / "manifest.json").read_text())
    assert [build["builder_type"] for build in manifest["builds"]] == ["amazon-ebs"]
    assert manifest["builds"][0]["custom_data"] == {
        "architecture": "amd64",
        "collection": tags["collection"],
        "content": tags["content"],
        "docker_base": "debian:trixie-slim",
        "runtime": "wasmtime",
        "runtime-archive": tags["runtime-archive"],
        "runtime-sha256": tags["runtime-sha256"],
        "source_ami": tags["source-ami"],
    }


def test_it_was_tested_before_it_was_kept(site: str) -> None:
    steps = re.findall(r"^  amazon-ebs\.spin: (.*)", site, re.M)
    tested = next(n for n, step in enumerate(steps) if step.startswith("Running local shell"))
    assert tested < next(n for n, step in enumerate(steps) if step.startswith("Creating AMI"))


def test_the_playbook_that_bakes_finds_it(deployment: Deployment, site: str) -> None:
    builds = json.dumps({"packer_builds": ["amazon-ebs.spin"]})
    output = deployment.play("playbooks/bake.yml", "--extra-vars", builds)
    (image,) = deployment.images()
    assert f" on t3.small: {image['ImageId']}" in said(output)
    assert "would bake" not in output and "amazon-ebs.spin: " not in output
    assert re.search(r"workstation .* changed=0 ", output)


@pytest.mark.parametrize(
    ("variable", "complaint"),
    [
        ("packer_architecture=riscv64", "packer_architecture is 'riscv64': set amd64 or arm64"),
        ("packer_source_ami_name=absent-*", "set packer_source_ami to an ID"),
        ("machine_image=frozen", "machine_image is 'frozen': set built or baked"),
    ],
)
def test_bad_input_ends_before_anything_is_baked(
    deployment: Deployment, site: str, variable: str, complaint: str
) -> None:
    output = deployment.play("playbooks/bake.yml", "--extra-vars", variable, fails=True)
    assert complaint in re.sub(r"\s+", " ", output)
    assert len(deployment.images()) == 1
