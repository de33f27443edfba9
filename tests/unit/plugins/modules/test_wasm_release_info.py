# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.multicompute.spin.plugins.modules import wasm_release_info
from ansible_collections.multicompute.spin.tests.unit.plugins._stub import (
    AwsError,
    FakeAws,
    run_module,
)
from botocore.response import StreamingBody

GROUP = (
    "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/demo-ec2/0123456789abcdef"
)
INSTANCE = "i-0123456789abcdef0"
STATE = {
    "active": "1.1.0",
    "previous": "1.0.0",
    "releases": {
        "1.0.0": {"sha256": "0" * 64, "published_by": "ann"},
        "1.1.0": {"sha256": "1" * 64},
    },
}


def stored(text: str) -> dict[str, Any]:
    data = text.encode()
    return {"Body": StreamingBody(io.BytesIO(data), len(data))}


@pytest.fixture
def cloud(aws: FakeAws) -> FakeAws:
    """A roll to 1.1.0 under way."""
    aws.on("s3.GetObject", lambda _request: stored(json.dumps(STATE)))
    tags = {
        "Name": "demo-ec2",
        "multicompute:8000": "1.0.0",
        "multicompute:8001": "1.1.0",
        "multicompute:configuration": "abc",
        # Somebody else's.
        "8002": "0.9.0",
        "other:8001": "0.9.0",
    }
    instance = {
        "InstanceId": INSTANCE,
        "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
    }
    aws.on("ec2.DescribeInstances", {"Reservations": [{"Instances": [instance]}]})
    aws.on("elbv2.DescribeTargetGroups", {"TargetGroups": [{"TargetGroupArn": GROUP}]})
    health = [
        {"Target": {"Id": INSTANCE, "Port": port}, "TargetHealth": {"State": state}}
        for port, state in ((8000, "draining"), (8001, "healthy"))
    ]
    aws.on("elbv2.DescribeTargetHealth", {"TargetHealthDescriptions": health})
    deployments = [
        {"status": "ACTIVE", "taskDefinition": "demo-ecs:1"},
        {"status": "PRIMARY", "taskDefinition": "demo-ecs:2"},
    ]
    service = {"status": "ACTIVE", "deployments": deployments}
    aws.on("ecs.DescribeServices", {"services": [service]})

    def definition(request: dict[str, Any]) -> dict[str, Any]:
        release = {"demo-ecs:1": "1.0.0", "demo-ecs:2": "1.1.0"}[request["taskDefinition"]]
        environment = [{"name": "APP_RELEASE", "value": release}]
        return {"taskDefinition": {"containerDefinitions": [{"environment": environment}]}}

    aws.on("ecs.DescribeTaskDefinition", definition)
    variables = {"APP_RELEASE": "1.0.0"}
    aws.on("lambda.GetFunctionConfiguration", {"Environment": {"Variables": variables}})
    return aws


ARGS: dict[str, Any] = {
    "bucket": "demo-123456789012-eu-central-1",
    "deployment": "demo",
    "primitives": [
        {"name": "ec2", "kind": "instance"},
        {"name": "ecs", "kind": "service"},
        {"name": "lambda", "kind": "function"},
    ],
}


def test_it_tells_who_serves_which_release(cloud: FakeAws) -> None:
    result = run_module(wasm_release_info, ARGS)
    assert result["primitives"] == {
        "ec2": ["1.1.0", "1.0.0"],
        "ecs": ["1.1.0", "1.0.0"],
        "lambda": ["1.0.0"],
    }
    assert (result["active"], result["previous"]) == ("1.1.0", "1.0.0")
    assert result["releases"]["1.0.0"] == {
        "sha256": "0" * 64,
        "published_by": "ann",
        "served_by": ["ec2", "ecs", "lambda"],
    }
    assert result["releases"]["1.1.0"]["served_by"] == ["ec2", "ecs"]
    assert not result["changed"] and not cloud.writes()
    asked = cloud.params("GetFunctionConfiguration")
    assert asked == [{"FunctionName": "demo-lambda", "Qualifier": "live"}]


def test_before_the_first_deployment_all_is_empty(aws: FakeAws) -> None:
    aws.on("s3.GetObject", AwsError("NoSuchBucket", status=404))
    aws.on("ec2.DescribeInstances", {"Reservations": []})
    aws.on("elbv2.DescribeTargetGroups", AwsError("TargetGroupNotFound"))
    aws.on("ecs.DescribeServices", AwsError("ClusterNotFoundException"))
    aws.on("lambda.GetFunctionConfiguration", AwsError("ResourceNotFoundException", status=404))
    result = run_module(wasm_release_info, ARGS)
    assert result["primitives"] == {"ec2": [], "ecs": [], "lambda": []}
    assert (result["active"], result["previous"], result["releases"]) == (None, None, {})


def test_a_share_alone_needs_no_aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = tmp_path / "releases/1.0.0"
    release.mkdir(parents=True)
    (release / "release.json").write_text(
        json.dumps({"version": "1.0.0", "files": {"app.wasm": {"sha256": "0" * 64}}})
    )
    (tmp_path / "current").symlink_to("releases/1.0.0")
    result = run_module(wasm_release_info, {"path": str(tmp_path)})
    assert result["active"] == "1.0.0"
    assert result["releases"]["1.0.0"]["sha256"] == "0" * 64


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({}, "one of the following is required: path, bucket"),
        ({"path": "/mnt/app", "bucket": "demo"}, "parameters are mutually exclusive"),
        ({"bucket": "demo", "primitives": ARGS["primitives"]}, "missing parameter(s)"),
    ],
)
def test_arguments_that_do_not_go_together(args: dict[str, Any], message: str) -> None:
    assert message in run_module(wasm_release_info, args)["msg"]
