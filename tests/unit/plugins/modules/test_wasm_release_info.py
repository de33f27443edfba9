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

PREFIX = "arn:aws:elasticloadbalancing:eu-central-1:123456789012"
BALANCER = f"{PREFIX}:loadbalancer/app/demo/0123456789abcdef"
INSTANCE = "i-0123456789abcdef0"
OTHER = "i-0123456789abcdef1"
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


def group_arn(name: str) -> str:
    return f"{PREFIX}:targetgroup/{name}/0123456789abcdef"


def target(id_: str, port: int | None, state: str, reason: str = "") -> dict[str, Any]:
    of_target = {"Id": id_} | ({"Port": port} if port else {})
    health = {"State": state} | ({"Reason": reason, "Description": "So"} if reason else {})
    return {"Target": of_target, "TargetHealth": health}


class Cloud:
    """A roll to 1.1.0 under way. Tests change it before they ask."""

    def __init__(self, aws: FakeAws) -> None:
        self.aws = aws
        self.weights = {"demo-ec2-blue": 90, "demo-ec2-green": 10, "demo-ecs-green": 0}
        self.targets = {
            "demo-ec2-blue": [target(INSTANCE, 8000, "healthy")],
            "demo-ec2-green": [target(INSTANCE, 8001, "initial", "Elb.InitialHealthChecking")],
            "demo-ecs-blue": [],
            "demo-ecs-green": [target("10.0.0.1", 8000, "healthy")],
            "demo-lambda-blue": [target("arn:function:blue", None, "unavailable")],
            "somebody-elses": [],
        }
        self.tags = {
            INSTANCE: {
                "Name": "demo-ec2",
                "multicompute:8000": "1.0.0",
                "multicompute:8001": "1.1.0",
                "multicompute:configuration": "abc",
                # Somebody else's.
                "8002": "0.9.0",
                "other:8001": "0.9.0",
            },
            OTHER: {"multicompute:8001": "0.9.0"},
        }
        self.services = [self.service("ecs-blue", "1", 0), self.service("ecs-green", "2", 1)]
        self.aliases = {"blue": ("3", "1.0.0"), "green": ("4", "1.1.0")}
        aws.on("s3.GetObject", lambda _request: stored(json.dumps(STATE)))
        aws.on("elbv2.DescribeLoadBalancers", {"LoadBalancers": [{"LoadBalancerArn": BALANCER}]})
        for operation in ("Listeners", "TargetGroups", "TargetHealth"):
            aws.on(f"elbv2.Describe{operation}", getattr(self, operation))
        aws.on("ec2.DescribeInstances", self.Instances)
        aws.on("ecs.DescribeServices", lambda _request: {"services": self.services})
        aws.on("ecs.DescribeTaskDefinition", self.TaskDefinition)
        aws.on("lambda.GetFunctionConfiguration", self.Function)

    @staticmethod
    def service(name: str, revision: str, count: int, status: str = "ACTIVE") -> dict[str, Any]:
        deployments = [
            {"status": "ACTIVE", "taskDefinition": "demo-ecs:9"},
            {"status": "PRIMARY", "taskDefinition": f"demo-ecs:{revision}"},
        ]
        described = {"status": status, "desiredCount": count, "deployments": deployments}
        return {"serviceName": name, **described}

    def Listeners(self, _request: dict[str, Any]) -> dict[str, Any]:
        groups = [
            {"TargetGroupArn": group_arn(name), "Weight": weight}
            for name, weight in self.weights.items()
        ]
        forward = {"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}
        other = {"Type": "forward", "TargetGroupArn": group_arn("demo-lambda-green")}
        return {
            "Listeners": [
                {"Port": 443, "DefaultActions": [other]},
                {"Port": 80, "DefaultActions": [forward]},
            ]
        }

    def TargetGroups(self, request: dict[str, Any]) -> dict[str, Any]:
        """Two pages."""
        first, *others = [
            {"TargetGroupName": name, "TargetGroupArn": group_arn(name)} for name in self.targets
        ]
        if request.get("Marker"):
            return {"TargetGroups": others}
        return {"TargetGroups": [first], "NextMarker": "more"}

    def TargetHealth(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"TargetHealthDescriptions": self.targets[request["TargetGroupArn"].split("/")[1]]}

    def Instances(self, request: dict[str, Any]) -> dict[str, Any]:
        (asked,) = request["Filters"]
        assert asked["Name"] == "instance-id"
        instances = [
            {
                "InstanceId": id_,
                "Tags": [{"Key": key, "Value": value} for key, value in self.tags[id_].items()],
            }
            for id_ in asked["Values"]
        ]
        return {"Reservations": [{"Instances": instances}]}

    def TaskDefinition(self, request: dict[str, Any]) -> dict[str, Any]:
        release = {"demo-ecs:1": "1.0.0", "demo-ecs:2": "1.1.0"}[request["taskDefinition"]]
        environment = [{"name": "APP_RELEASE", "value": release}]
        return {"taskDefinition": {"containerDefinitions": [{"environment": environment}]}}

    def Function(self, request: dict[str, Any]) -> Any:
        assert request["FunctionName"] == "demo-lambda"
        if request["Qualifier"] not in self.aliases:
            return AwsError("ResourceNotFoundException", status=404)
        version, release = self.aliases[request["Qualifier"]]
        return {"Version": version, "Environment": {"Variables": {"APP_RELEASE": release}}}


@pytest.fixture
def cloud(aws: FakeAws) -> Cloud:
    return Cloud(aws)


ARGS: dict[str, Any] = {
    "bucket": "demo-123456789012-eu-central-1",
    "deployment": "demo",
    "port": 80,
    "primitives": [
        {"name": "ec2", "kind": "instance"},
        {"name": "ecs", "kind": "service"},
        {"name": "lambda", "kind": "function"},
    ],
}
NOTHING: dict[str, Any] = {
    "target_group_arn": None,
    "weight": None,
    "release": None,
    "ready": False,
    "task_definition": None,
    "version": None,
    "targets": [],
}


def shown(id_: str, port: int | None, state: str, reason: str = "") -> dict[str, Any]:
    words = {"reason": reason, "description": "So" if reason else ""}
    return {"id": id_, "port": port, "state": state, **words}


def test_it_tells_what_each_colour_serves(cloud: Cloud, aws: FakeAws) -> None:
    result = run_module(wasm_release_info, ARGS)
    assert result["primitives"]["ec2"] == {
        "active": "blue",
        "weight": 100,
        "colours": {
            "blue": NOTHING
            | {
                "target_group_arn": group_arn("demo-ec2-blue"),
                "weight": 90,
                "release": "1.0.0",
                "ready": True,
                "targets": [shown(INSTANCE, 8000, "healthy")],
            },
            "green": NOTHING
            | {
                "target_group_arn": group_arn("demo-ec2-green"),
                "weight": 10,
                "release": "1.1.0",
                "targets": [shown(INSTANCE, 8001, "initial", "Elb.InitialHealthChecking")],
            },
        },
    }
    # A service without tasks serves nothing, whatever its task definition is.
    assert result["primitives"]["ecs"] == {
        "active": "green",
        "weight": 0,
        "colours": {
            "blue": NOTHING | {"target_group_arn": group_arn("demo-ecs-blue")},
            "green": NOTHING
            | {
                "target_group_arn": group_arn("demo-ecs-green"),
                "weight": 0,
                "release": "1.1.0",
                "ready": True,
                "task_definition": "demo-ecs:2",
                "targets": [shown("10.0.0.1", 8000, "healthy")],
            },
        },
    }
    # Nobody checks a function, so it is in service as soon as it is registered.
    assert result["primitives"]["lambda"] == {
        "active": None,
        "weight": None,
        "colours": {
            "blue": NOTHING
            | {
                "target_group_arn": group_arn("demo-lambda-blue"),
                "release": "1.0.0",
                "ready": True,
                "version": "3",
                "targets": [shown("arn:function:blue", None, "unavailable")],
            },
            "green": NOTHING | {"release": "1.1.0", "version": "4"},
        },
    }
    assert (result["active"], result["previous"]) == ("1.1.0", "1.0.0")
    assert result["releases"]["1.0.0"] == STATE["releases"]["1.0.0"] | {
        "served_by": ["ec2", "lambda"]
    }
    assert result["releases"]["1.1.0"]["served_by"] == ["ec2", "ecs", "lambda"]
    assert not result["changed"] and not aws.writes()


def test_what_a_release_says_of_itself_is_told(cloud: Cloud, aws: FakeAws) -> None:
    says = {
        "health": {"path": "/healthz", "codes": "200"},
        "probes": [{"path": "/", "status": "200-499", "text": "Hello"}],
        "instance_reuse": 128,
    }
    state = {"active": "1.0.0", "previous": None, "releases": {"1.0.0": {"sha256": "0"} | says}}
    aws.on("s3.GetObject", lambda _request: stored(json.dumps(state)))
    release = run_module(wasm_release_info, ARGS)["releases"]["1.0.0"]
    assert release == {"sha256": "0", "served_by": ["ec2", "lambda"], **says}


def test_of_several_targets_the_healthy_one_says_the_release(cloud: Cloud) -> None:
    cloud.targets["demo-ec2-blue"] = [
        target(OTHER, 8001, "unhealthy"),
        target(INSTANCE, 8000, "healthy"),
        target(INSTANCE, 9000, "healthy"),
    ]
    # Taken out: nobody new comes here.
    cloud.targets["demo-ec2-green"] = [target(INSTANCE, 8001, "draining")]
    colours = run_module(wasm_release_info, ARGS)["primitives"]["ec2"]["colours"]
    assert colours["blue"]["release"] == "1.0.0"
    assert (colours["green"]["release"], colours["green"]["ready"]) == (None, False)


def test_a_service_that_is_being_deleted_serves_nothing(cloud: Cloud) -> None:
    cloud.services = [cloud.service("ecs-green", "2", 1, "DRAINING")]
    green = run_module(wasm_release_info, ARGS)["primitives"]["ecs"]["colours"]["green"]
    assert (green["release"], green["task_definition"]) == (None, None)


def test_a_function_without_an_alias_has_no_release(cloud: Cloud) -> None:
    del cloud.aliases["green"]
    green = run_module(wasm_release_info, ARGS)["primitives"]["lambda"]["colours"]["green"]
    assert green == NOTHING


def test_aws_describes_ten_services_at_once(cloud: Cloud, aws: FakeAws) -> None:
    many = [{"name": f"ecs{number}", "kind": "service"} for number in range(6)]
    cloud.services = []
    run_module(wasm_release_info, ARGS | {"primitives": many})
    assert [len(each["services"]) for each in aws.params("DescribeServices")] == [10, 2]


def test_before_the_first_deployment_all_is_empty(aws: FakeAws) -> None:
    aws.on("s3.GetObject", AwsError("NoSuchBucket", status=404))
    aws.on("elbv2.DescribeLoadBalancers", AwsError("LoadBalancerNotFound"))
    aws.on("elbv2.DescribeTargetGroups", {"TargetGroups": []})
    aws.on("ecs.DescribeServices", AwsError("ClusterNotFoundException"))
    aws.on("lambda.GetFunctionConfiguration", AwsError("ResourceNotFoundException", status=404))
    result = run_module(wasm_release_info, ARGS)
    nothing = {"active": None, "weight": None, "colours": {"blue": NOTHING, "green": NOTHING}}
    assert result["primitives"] == {"ec2": nothing, "ecs": nothing, "lambda": nothing}
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
