# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import random
from typing import Any

import pytest
from ansible_collections.multicompute.spin.plugins.modules import elb_target_group
from ansible_collections.multicompute.spin.tests.unit.plugins._stub import (
    AwsError,
    FakeAws,
    run_module,
)
from hypothesis import given
from hypothesis import strategies as st

ARN = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/demo/50dc6c495c0c9188"
VPC = "vpc-0123456789abcdef0"
# As AWS answers for a group that was created with nothing but what is required.
GROUP = {
    "TargetGroupArn": ARN,
    "TargetGroupName": "demo",
    "Protocol": "HTTP",
    "Port": 8000,
    "VpcId": VPC,
    "HealthCheckProtocol": "HTTP",
    "HealthCheckPort": "traffic-port",
    "HealthCheckEnabled": True,
    "HealthCheckIntervalSeconds": 30,
    "HealthCheckTimeoutSeconds": 5,
    "HealthyThresholdCount": 5,
    "UnhealthyThresholdCount": 2,
    "HealthCheckPath": "/",
    "Matcher": {"HttpCode": "200"},
    "LoadBalancerArns": [],
    "TargetType": "instance",
    "ProtocolVersion": "HTTP1",
    "IpAddressType": "ipv4",
}
ATTRIBUTES = [
    {"Key": "deregistration_delay.timeout_seconds", "Value": "300"},
    {"Key": "slow_start.duration_seconds", "Value": "0"},
    {"Key": "load_balancing.algorithm.type", "Value": "round_robin"},
    {"Key": "stickiness.enabled", "Value": "false"},
]
ARGS: dict[str, Any] = {"name": "demo", "protocol": "HTTP", "port": 8000, "vpc_id": VPC}
NOT_FOUND = AwsError("TargetGroupNotFound", "not found")


def health(*targets: tuple[str, str]) -> dict[str, Any]:
    return {
        "TargetHealthDescriptions": [
            {"Target": {"Id": name, "Port": 8000}, "TargetHealth": {"State": state}}
            for name, state in targets
        ]
    }


@pytest.fixture
def elb(aws: FakeAws) -> FakeAws:
    aws.on("elbv2.DescribeTargetGroups", {"TargetGroups": [GROUP]})
    aws.on("elbv2.DescribeTargetGroupAttributes", {"Attributes": ATTRIBUTES})
    aws.on("elbv2.DescribeTags", {"TagDescriptions": [{"ResourceArn": ARN}]})
    aws.on("elbv2.DescribeTargetHealth", health(("i-old", "healthy")))
    for operation in (
        "AddTags",
        "DeleteTargetGroup",
        "DeregisterTargets",
        "ModifyTargetGroup",
        "ModifyTargetGroupAttributes",
        "RegisterTargets",
        "RemoveTags",
    ):
        aws.on(f"elbv2.{operation}", {})
    aws.on("elbv2.CreateTargetGroup", {"TargetGroups": [GROUP]})
    return aws


def operations(aws: FakeAws) -> list[str]:
    return [call.operation for call in aws.writes()]


# Comparison

targets = st.lists(
    st.tuples(st.from_regex(r"i-[0-9a-f]{1,3}", fullmatch=True), st.integers(1, 65535)), max_size=6
)


def params(**given: Any) -> dict[str, Any]:
    options = (
        "health_check",
        "tags",
        *elb_target_group.IMMUTABLE,
        *elb_target_group.ATTRIBUTES,
        "targets",
    )
    return dict.fromkeys(options) | {"name": "demo", "purge_tags": True} | given


@given(targets, st.randoms(use_true_random=False))
def test_order_and_repetition_of_targets_do_not_matter(
    pairs: list[tuple[str, int]], chance: random.Random
) -> None:
    answer = [
        {"Target": {"Id": name, "Port": port}, "TargetHealth": {"State": "healthy"}}
        for name, port in {*pairs}
    ]
    chance.shuffle(answer)
    current = elb_target_group.described(GROUP, ATTRIBUTES, answer, [])
    # Without a port it is that of the group.
    options = [{"id": name, "port": None if port == 8000 else port} for name, port in pairs * 2]
    chance.shuffle(options)
    after = elb_target_group.wanted(params(port=8000, targets=options), current)
    assert after["targets"] == current["targets"]


@given(
    st.lists(st.integers(200, 499).map(str), min_size=1, unique=True),
    st.randoms(use_true_random=False),
)
def test_order_and_spaces_of_status_codes_do_not_matter(
    codes: list[str], chance: random.Random
) -> None:
    current = elb_target_group.described_check({"Matcher": {"HttpCode": ",".join(codes)}})
    chance.shuffle(codes)
    given_ = params(health_check={"matcher": " , ".join(codes)})
    after = elb_target_group.wanted(given_, {})
    assert after["health_check"]["matcher"] == current["matcher"]


@given(st.sets(st.sampled_from(sorted(elb_target_group.HEALTH_CHECK))))
def test_what_aws_fills_in_is_no_difference(names: set[str]) -> None:
    current = elb_target_group.described(GROUP, ATTRIBUTES, [], [])
    check = {name: current["health_check"][name] for name in names}
    options = elb_target_group.wanted(params(health_check=check), current)
    assert elb_target_group.shown(current, options) == options


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"port": 0}, "port is 0"),
        ({"deregistration_delay": 3601}, "deregistration_delay is 3601"),
        ({"slow_start": 10}, "slow_start is 10: it has to be 0, or from 30 to 900"),
        ({"health_check": {"interval": 4}}, "interval is 4: it has to be from 5 to 300"),
        ({"health_check": {"healthy_threshold": 1}}, "healthy_threshold is 1"),
        ({"health_check": {"interval": 5, "timeout": 5}}, "timeout has to be less than"),
        ({"name": "-demo"}, "-demo is no name for a target group"),
        ({"name": "a" * 33}, "up to 32"),
    ],
)
def test_what_aws_would_refuse_fails_in_check_mode_too(
    elb: FakeAws, change: dict[str, Any], text: str
) -> None:
    for check in (True, False):
        assert text in run_module(elb_target_group, ARGS | change, check=check)["msg"]
    assert elb.calls == []


# Calls


def test_one_call_creates_it_with_its_health_check_and_tags(elb: FakeAws) -> None:
    elb.on("elbv2.DescribeTargetGroups", NOT_FOUND)
    created = GROUP | {"HealthCheckPath": "/health", "Matcher": {"HttpCode": "200-299"}}
    elb.on("elbv2.CreateTargetGroup", {"TargetGroups": [created]})
    tags = {"ResourceArn": ARN, "Tags": [{"Key": "number", "Value": "1"}]}
    elb.on("elbv2.DescribeTags", {"TagDescriptions": [tags]})
    check = {"path": "/health", "matcher": "200-299"}
    result = run_module(elb_target_group, ARGS | {"health_check": check, "tags": {"number": 1}})
    assert result["changed"]
    assert operations(elb) == ["CreateTargetGroup"]
    assert elb.params("CreateTargetGroup") == [
        {
            "Name": "demo",
            "TargetType": "instance",
            "Protocol": "HTTP",
            "Port": 8000,
            "VpcId": VPC,
            "HealthCheckPath": "/health",
            "Matcher": {"HttpCode": "200-299"},
            "Tags": [{"Key": "number", "Value": "1"}],
        }
    ]


def test_grpc_codes(elb: FakeAws) -> None:
    grpc = GROUP | {"ProtocolVersion": "GRPC", "Matcher": {"GrpcCode": "12"}}
    elb.on("elbv2.DescribeTargetGroups", {"TargetGroups": [grpc]})
    args = ARGS | {"protocol_version": "GRPC"}
    assert not run_module(elb_target_group, args | {"health_check": {"matcher": 12}})["changed"]
    run_module(elb_target_group, args | {"health_check": {"matcher": "0"}})
    assert elb.params("ModifyTargetGroup") == [
        {"TargetGroupArn": ARN, "Matcher": {"GrpcCode": "0"}}
    ]


def test_a_function_is_created_without_what_it_cannot_have(elb: FakeAws) -> None:
    elb.on("elbv2.DescribeTargetGroups", NOT_FOUND)
    function = {"TargetGroupArn": ARN, "TargetGroupName": "demo", "TargetType": "lambda"}
    elb.on("elbv2.CreateTargetGroup", {"TargetGroups": [function]})
    elb.on("elbv2.DescribeTargetGroupAttributes", {"Attributes": []})
    elb.on("elbv2.DescribeTargetHealth", {"TargetHealthDescriptions": []})
    result = run_module(elb_target_group, {"name": "demo", "target_type": "lambda"})
    assert elb.params("CreateTargetGroup") == [{"Name": "demo", "TargetType": "lambda"}]
    assert result["target_group"]["protocol_version"] is None


def test_a_creation_that_got_through_before_is_taken_over(elb: FakeAws) -> None:
    elb.on("elbv2.DescribeTargetGroups", [NOT_FOUND, {"TargetGroups": [GROUP]}])
    elb.on("elbv2.CreateTargetGroup", AwsError("DuplicateTargetGroupName"))
    run_module(elb_target_group, ARGS | {"deregistration_delay": 5})
    assert operations(elb) == ["CreateTargetGroup", "ModifyTargetGroupAttributes"]
    elb.on("elbv2.DescribeTargetGroups", [NOT_FOUND, {"TargetGroups": [GROUP]}])
    refused = run_module(elb_target_group, ARGS | {"port": 80})
    assert "port 8000 instead of 80" in refused["msg"]


def test_nothing_is_asked_to_change_when_all_is_right(elb: FakeAws) -> None:
    result = run_module(elb_target_group, ARGS | {"targets": [{"id": "i-old"}]})
    assert not result["changed"] and elb.writes() == []


def test_former_targets_serve_until_new_ones_are_healthy(elb: FakeAws) -> None:
    old = ("i-old", "healthy")
    elb.on(
        "elbv2.DescribeTargetHealth",
        [
            health(old),
            health(("i-new", "initial")),
            health(("i-new", "healthy")),
            health(("i-new", "healthy"), ("i-old", "draining")),
            health(("i-new", "healthy")),
        ],
    )
    args = ARGS | {"targets": [{"id": "i-new"}], "wait": True}
    result = run_module(elb_target_group, args)
    assert [target["id"] for target in result["targets"]] == ["i-new"]
    assert elb.operations()[-8:] == [
        "DescribeTargetHealth",
        "RegisterTargets",
        "DescribeTargetHealth",
        "DescribeTargetHealth",
        "DeregisterTargets",
        "DescribeTargetHealth",
        "DescribeTargetHealth",
        "DescribeTargetHealth",
    ]
    assert elb.params("RegisterTargets")[0]["Targets"] == [{"Id": "i-new", "Port": 8000}]
    assert elb.params("DeregisterTargets")[0]["Targets"] == [{"Id": "i-old", "Port": 8000}]


def sick(name: str, reason: str = "Target.ResponseCodeMismatch") -> dict[str, Any]:
    """A target that fails its health checks."""
    codes = "Health checks failed with these codes: [502]"
    return {
        "Target": {"Id": name, "Port": 8000},
        "TargetHealth": {"State": "unhealthy", "Reason": reason, "Description": codes},
    }


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time goes on by sleeping alone."""
    now = [0.0]
    monkeypatch.setattr(elb_target_group.time, "monotonic", lambda: now[0])

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(elb_target_group.time, "sleep", sleep)
    return now


def test_a_target_that_stays_unhealthy_is_named_and_the_former_one_stays(
    elb: FakeAws, clock: list[float]
) -> None:
    refusing = {"TargetHealthDescriptions": [sick("i-new", "Target.FailedHealthChecks")]}
    elb.on("elbv2.DescribeTargetHealth", [health(("i-old", "healthy")), refusing])
    args = ARGS | {"targets": [{"id": "i-new"}], "wait": True, "wait_timeout": 4}
    result = run_module(elb_target_group, args)
    assert result["msg"] == (
        "Could not see the targets of demo healthy within 4 s (i-new:8000 is unhealthy, "
        "Target.FailedHealthChecks: Health checks failed with these codes: [502])"
    )
    assert "unfit" not in result and clock == [4]
    assert operations(elb) == ["RegisterTargets"]


def test_the_wait_ends_when_a_new_target_answers_otherwise_than_wanted(
    elb: FakeAws, clock: list[float]
) -> None:
    elb.on(
        "elbv2.DescribeTargetHealth",
        [
            health(("i-old", "healthy")),
            health(("i-new", "initial")),
            {"TargetHealthDescriptions": [sick("i-new")]},
        ],
    )
    # The former check wanted something else: a new target was never asked for it.
    check = {"path": "/healthz", "matcher": "200-299"}
    args = ARGS | {"targets": [{"id": "i-new"}], "wait": True, "health_check": check}
    result = run_module(elb_target_group, args)
    assert result["failed"] and result["unfit"] is True
    assert result["msg"] == (
        "demo: GET /healthz of i-new:8000 was answered with 502, and 200-299 is wanted "
        "(Target.ResponseCodeMismatch: Health checks failed with these codes: [502])"
    )
    assert clock == [0.5]
    assert operations(elb) == ["ModifyTargetGroup", "RegisterTargets"]


def test_what_was_found_out_before_the_check_was_changed_does_not_count(
    elb: FakeAws, clock: list[float]
) -> None:
    before = {"TargetHealthDescriptions": [sick("i-old")]}
    elb.on("elbv2.DescribeTargetHealth", [before] * 20 + [health(("i-old", "healthy"))])
    check = {"path": "/healthz", "interval": 5, "timeout": 2, "healthy_threshold": 2}
    args = ARGS | {"targets": [{"id": "i-old"}], "wait": True, "health_check": check}
    assert run_module(elb_target_group, args)["changed"]
    elb.on("elbv2.DescribeTargetHealth", before)
    clock[0] = 0
    result = run_module(elb_target_group, args)
    assert result["unfit"] is True
    assert clock == [15]


def test_a_draining_target_is_registered_again(elb: FakeAws) -> None:
    elb.on("elbv2.DescribeTargetHealth", health(("i-old", "draining")))
    assert run_module(elb_target_group, ARGS | {"targets": [{"id": "i-old"}]})["changed"]
    assert operations(elb) == ["RegisterTargets"]


def test_an_instance_that_is_still_starting_is_tried_again(elb: FakeAws) -> None:
    pending = AwsError(
        "InvalidTarget",
        "The following targets are not in a running state and cannot be registered: 'i-new'",
    )
    elb.on("elbv2.RegisterTargets", [pending, {}])
    args = ARGS | {"targets": [{"id": "i-old"}, {"id": "i-new"}]}
    assert run_module(elb_target_group, args)["changed"]
    assert operations(elb) == ["RegisterTargets", "RegisterTargets"]


def test_a_wrong_target_is_not_tried_again(elb: FakeAws) -> None:
    elb.on("elbv2.RegisterTargets", AwsError("InvalidTarget", "i-new is not in the VPC"))
    message = run_module(elb_target_group, ARGS | {"targets": [{"id": "i-new"}]})["msg"]
    assert "Could not register i-new:8000 in the target group demo" in message
    assert "InvalidTarget" in message and operations(elb) == ["RegisterTargets"]


def test_deletion_waits_for_a_listener_that_is_going(elb: FakeAws) -> None:
    in_use = AwsError("ResourceInUse", "Target group is currently in use by a listener or a rule")
    elb.on("elbv2.DeleteTargetGroup", [in_use, in_use, {}])
    absent = {"name": "demo", "state": "absent"}
    assert run_module(elb_target_group, absent)["changed"]
    elb.on("elbv2.DeleteTargetGroup", in_use)
    message = run_module(elb_target_group, absent)["msg"]
    assert "Could not delete the target group demo (take it out of all listeners" in message


def test_tags_of_aws_itself_stay(elb: FakeAws) -> None:
    tags = [{"Key": "aws:cloudformation:stack-name", "Value": "x"}, {"Key": "old", "Value": "y"}]
    elb.on("elbv2.DescribeTags", {"TagDescriptions": [{"ResourceArn": ARN, "Tags": tags}]})
    run_module(elb_target_group, ARGS | {"tags": {"new": "z"}})
    assert elb.params("RemoveTags") == [{"ResourceArns": [ARN], "TagKeys": ["old"]}]
    assert elb.params("AddTags")[0]["Tags"] == [{"Key": "new", "Value": "z"}]
