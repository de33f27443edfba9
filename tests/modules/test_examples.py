# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""EXAMPLES as they are written, by ansible-playbook, after what they take for granted was made.
That of packer_build bakes a real image: tests/packer does that."""

from __future__ import annotations

import importlib
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.multicompute.spin.plugins.modules import wasm_release
from ansible_collections.multicompute.spin.tests.local_cloud.conftest import LocalCloud
from ansible_collections.multicompute.spin.tests.unit.plugins._stub import run_module
from ansible_collections.multicompute.spin.tests.unit.plugins.module_utils.test_release import (
    make_bundle,
)

from .scenarios import Clients, file_system, network

COLLECTION = "ansible_collections.multicompute.spin.plugins.modules"
POINT = "arn:aws:elasticfilesystem:eu-central-1:123456789012:access-point/fsap-0123456789abcdef0"


def zones(cloud: Clients, _folder: Path) -> dict[str, Any]:
    made = network(cloud)
    first, second = made["subnets"]
    return {"security_group": made["group"], "subnet_a": first, "subnet_b": second}


def share(cloud: Clients, _folder: Path) -> dict[str, Any]:
    return {"share": {"file_system": {"file_system_id": file_system(cloud)}}}


def image(cloud: Clients, folder: Path) -> dict[str, Any]:
    servers = {"access_point": {"access_point_arn": POINT}}
    digests = {"digest": f"{1:064}", "new_digest": f"{2:064}"}
    return zones(cloud, folder) | digests | {"servers": servers}


def target_group(cloud: Clients, _folder: Path) -> dict[str, Any]:
    group = cloud("elbv2").create_target_group(Name="demo", TargetType="lambda")["TargetGroups"][0]
    client = cloud("lambda")
    client.create_function(
        FunctionName="demo",
        PackageType="Image",
        Code={"ImageUri": "123456789012.dkr.ecr.eu-central-1.amazonaws.com/demo:1"},
        Role="arn:aws:iam::123456789012:role/demo",
    )
    client.get_waiter("function_active_v2").wait(FunctionName="demo")
    alias = client.create_alias(FunctionName="demo", Name="live", FunctionVersion="$LATEST")
    return {
        "target_group": {"target_group_arn": group["TargetGroupArn"]},
        "function": {"alias_arn": alias["AliasArn"]},
    }


def balancer(cloud: Clients, _folder: Path) -> dict[str, Any]:
    made = network(cloud)
    elb = cloud("elbv2")
    elb.create_load_balancer(Name="demo", Subnets=made["subnets"])
    for name in ("ec2", "ecs", "lambda", "ec2-arm64"):
        elb.create_target_group(Name=f"demo-{name}", Protocol="HTTP", Port=8000, VpcId=made["vpc"])
    return {}


def cluster(cloud: Clients, _folder: Path) -> dict[str, Any]:
    cloud("ecs").create_cluster(clusterName="demo")
    return {"digest": f"{1:064}"}


def releases(_cloud: Clients, folder: Path) -> dict[str, Any]:
    """Two that are there, and bundles of two more."""
    (folder / "mnt/app").mkdir(parents=True)
    (folder / "tmp").mkdir()
    digests = {}
    for version in ("0.9.0", "1.0.0", "1.1.0", "1.2.0"):
        bundle, sha256 = make_bundle(folder / f"tmp/app-{version}.tar", version)
        digests[f"app_{version.replace('.', '_')}_sha256"] = sha256
        if version < "1.1":
            there = {"path": str(folder / "mnt/app"), "bundle": str(bundle), "sha256": sha256}
            assert run_module(wasm_release, there)["changed"]
    return digests


def deployment(cloud: Clients, folder: Path) -> dict[str, Any]:
    cloud("s3").create_bucket(
        Bucket="demo-123456789012-eu-west-1",
        CreateBucketConfiguration={"LocationConstraint": "eu-central-1"},
    )
    return releases(cloud, folder)


def nothing(_cloud: Clients, _folder: Path) -> dict[str, Any]:
    return {}


PREPARED = {
    "aws_leftovers_info": nothing,
    "ecs_task_definition": cluster,
    "efs_access_point": share,
    "efs_access_point_info": share,
    "efs_file_system": zones,
    "elb_lambda_target": target_group,
    "elb_weighted_listener": balancer,
    "lambda_container": image,
    "wasm_release": releases,
    "wasm_release_info": deployment,
}


@pytest.fixture
def listening(local_cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights and rules are mended in the local cloud, whose listeners do listen."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", 80))
        except OSError as error:
            pytest.skip(f"port 80 is not to be had here: {error}")
    monkeypatch.setenv("AWS_ENDPOINT_URL", local_cloud.endpoint)


@pytest.mark.parametrize("name", PREPARED)
def test_examples_run_as_written(
    name: str, cloud: Clients, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if name == "elb_weighted_listener":
        request.getfixturevalue("listening")
    variables = PREPARED[name](cloud, tmp_path)
    examples = importlib.import_module(f"{COLLECTION}.{name}").EXAMPLES
    # Two folders that are not the tests' own.
    examples = re.sub(r"(?<= )(/mnt/app|/tmp/app)", rf"{tmp_path}\1", examples)
    # No local cloud has HTTPS: what needs a certificate is validated elsewhere, and not run.
    tasks = [task for task in yaml.safe_load(examples) if "port: 443" not in yaml.safe_dump(task)]
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars": variables | {"ansible_python_interpreter": sys.executable},
        "tasks": tasks,
    }
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    (tmp_path / "ansible.cfg").touch()
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "play.yml"],
        cwd=tmp_path,
        env=os.environ
        | {
            "ANSIBLE_CONFIG": str(tmp_path / "ansible.cfg"),
            "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.json",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = [task["hosts"]["localhost"] for task in json.loads(done.stdout)["plays"][0]["tasks"]]
    assert len(results) == len(tasks)
    # Each does what it says.
    assert [result["changed"] for result in results] == [not name.endswith("_info")] * len(tasks)
