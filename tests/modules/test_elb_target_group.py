# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.multicompute.spin.plugins.modules import elb_target_group
from ansible_collections.multicompute.spin.tests.unit.plugins._stub import run_module

VPC = "vpc-0123456789abcdef0"
REQUIRED = {"name": "demo-ec2", "protocol": "HTTP", "port": 8000, "vpc_id": VPC}


def ids(cloud: Any, arn: str) -> list[str]:
    health = cloud("elbv2").describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]
    return sorted(target["Target"]["Id"] for target in health)


def test_missing_parameters(cloud: Any) -> None:
    def message(**args: Any) -> str:
        return run_module(elb_target_group, args)["msg"]

    assert "missing required arguments: name" in message()
    for check in (True, False):
        lacking = run_module(elb_target_group, {"name": "demo", "port": 80}, check=check)
        assert lacking["msg"] == "target_type=instance needs protocol, vpc_id."
    assert "does not go with port, targets" in message(
        name="demo", target_type="lambda", port=80, targets=[]
    )


def test_life(cloud: Any, converge: Any) -> None:
    args = REQUIRED | {
        "health_check": {"path": "/health", "interval": 10, "timeout": 2, "matcher": "200,204"},
        "deregistration_delay": 20,
        "targets": [{"id": "i-0000000000000000a"}, {"id": "i-0000000000000000b", "port": 9000}],
        "wait": True,
        "tags": {"project": "demo", "number": 1},
    }
    created = converge(elb_target_group, args)
    assert created["changed"] and created["diff"]["before"] == {}
    group = created["target_group"]
    arn = group["target_group_arn"]
    assert group["target_group_name"] == "demo-ec2"
    assert group["tags"] == {"project": "demo", "number": "1"}
    assert group["health_check"]["path"] == "/health"
    assert group["health_check"]["unhealthy_threshold"] == 2
    assert [(t["id"], t["port"], t["state"]) for t in created["targets"]] == [
        ("i-0000000000000000a", 8000, "healthy"),
        ("i-0000000000000000b", 9000, "healthy"),
    ]

    # Written in another way, it is the same.
    same = args | {
        "health_check": {"matcher": "204, 200", "interval": "10"},
        "targets": [
            {"id": "i-0000000000000000b", "port": "9000"},
            {"id": "i-0000000000000000a", "port": 8000},
        ],
    }
    assert converge(elb_target_group, same)["changed"] is False

    updates: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"deregistration_delay": 30}, {"deregistration_delay": 30}),
        ({"slow_start": 60}, {"slow_start": 60}),
        (
            {"load_balancing_algorithm_type": "least_outstanding_requests"},
            {"load_balancing_algorithm_type": "least_outstanding_requests"},
        ),
        (
            {"tags": {"more": "x"}, "purge_tags": False},
            {"tags": {"project": "demo", "number": "1", "more": "x"}},
        ),
        ({"tags": {"only": "this"}}, {"tags": {"only": "this"}}),
    ]
    for change, expected in updates:
        updated = converge(elb_target_group, REQUIRED | change)
        assert updated["changed"], change
        assert updated["target_group"]["target_group_arn"] == arn
        assert expected.items() <= updated["target_group"].items()
    assert ids(cloud, arn) == ["i-0000000000000000a", "i-0000000000000000b"]

    assert converge(elb_target_group, {"name": "demo-ec2", "state": "absent"})["changed"]
    assert cloud("elbv2").describe_target_groups()["TargetGroups"] == []
    assert not converge(elb_target_group, {"name": "demo-ec2", "state": "absent"})["changed"]


@pytest.mark.parametrize(
    "change",
    [
        {"path": "/other"},
        {"protocol": "HTTPS"},
        {"port": "9000"},
        {"interval": 6},
        {"timeout": 3},
        {"healthy_threshold": 3},
        {"unhealthy_threshold": 4},
        {"matcher": "200-299"},
        {"enabled": False},
    ],
)
def test_each_part_of_the_health_check_changes_alone(
    cloud: Any, converge: Any, change: dict[str, Any]
) -> None:
    before = converge(elb_target_group, REQUIRED)["target_group"]["health_check"]
    changed = converge(elb_target_group, REQUIRED | {"health_check": change})
    assert changed["changed"]
    assert changed["target_group"]["health_check"] == before | change
    assert changed["diff"]["after"]["health_check"] == change
    assert converge(elb_target_group, REQUIRED)["target_group"]["health_check"] == before | change


def test_targets(cloud: Any, converge: Any) -> None:
    def targets(*names: str) -> dict[str, Any]:
        given = [{"id": name} for name in names]
        return converge(elb_target_group, REQUIRED | {"targets": given})

    arn = targets("i-a")["target_group"]["target_group_arn"]
    exchanged = targets("i-b", "i-c")
    assert exchanged["diff"]["before"]["targets"] == [{"id": "i-a", "port": 8000}]
    assert ids(cloud, arn) == ["i-b", "i-c"]
    # As ECS does it, past this module.
    cloud("elbv2").register_targets(TargetGroupArn=arn, Targets=[{"Id": "i-d"}])
    assert converge(elb_target_group, REQUIRED)["changed"] is False
    assert ids(cloud, arn) == ["i-b", "i-c", "i-d"]
    assert targets()["targets"] == []
    assert ids(cloud, arn) == []


def test_a_function_needs_a_name_only(cloud: Any, converge: Any) -> None:
    args = {"name": "demo-lambda", "target_type": "lambda"}
    created = converge(elb_target_group, args)
    assert created["target_group"]["target_type"] == "lambda"
    assert created["target_group"]["port"] is None
    checked = {"health_check": {"enabled": True, "path": "/health"}}
    assert converge(elb_target_group, args | checked)["changed"]
    assert converge(elb_target_group, args | {"state": "absent"})["changed"]


def test_what_elb_fixes_at_creation_is_refused(cloud: Any, converge: Any) -> None:
    converge(elb_target_group, REQUIRED)
    for change, text in (
        ({"port": 80}, "port 8000 instead of 80"),
        ({"protocol": "HTTPS"}, "protocol HTTP instead of HTTPS"),
        ({"target_type": "ip"}, "target_type instance instead of ip"),
        ({"vpc_id": "vpc-1"}, f"vpc_id {VPC} instead of vpc-1"),
        ({"protocol_version": "HTTP2"}, "protocol_version HTTP1 instead of HTTP2"),
    ):
        for check in (True, False):
            refused = run_module(elb_target_group, REQUIRED | change, check=check)
            assert f"demo-ec2 has {text}, which AWS cannot change" in refused["msg"]


def test_a_change_from_outside_is_put_right(cloud: Any, converge: Any) -> None:
    args = REQUIRED | {
        "health_check": {"path": "/health"},
        "deregistration_delay": 20,
        "targets": [{"id": "i-a"}],
    }
    arn = converge(elb_target_group, args)["target_group"]["target_group_arn"]
    elb = cloud("elbv2")
    elb.modify_target_group(TargetGroupArn=arn, HealthCheckPath="/theirs")
    elb.modify_target_group_attributes(
        TargetGroupArn=arn,
        Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": "300"}],
    )
    elb.register_targets(TargetGroupArn=arn, Targets=[{"Id": "i-theirs"}])
    corrected = converge(elb_target_group, args)
    before = corrected["diff"]["before"]
    assert before["health_check"] == {"path": "/theirs"}
    assert before["deregistration_delay"] == 300
    assert [target["id"] for target in before["targets"]] == ["i-a", "i-theirs"]
    assert ids(cloud, arn) == ["i-a"]


def test_check_mode_with_parents_that_do_not_exist_yet(cloud: Any) -> None:
    args = REQUIRED | {
        "vpc_id": "vpc-00000000000000000",
        "targets": [{"id": "i-00000000000000000"}],
        "wait": True,
    }
    predicted = run_module(elb_target_group, args, check=True)
    assert predicted["changed"]
    arn = "arn:aws:elasticloadbalancing:eu-central-1:000000000000:targetgroup/demo-ec2/"
    assert predicted["target_group"]["target_group_arn"].startswith(arn)
    assert predicted["targets"][0]["id"] == "i-00000000000000000"
    assert cloud("elbv2").describe_target_groups()["TargetGroups"] == []
