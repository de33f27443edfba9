# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the local API cannot show: deleted resources that AWS lists for a while, many pages."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.multicompute.spin.plugins.modules import aws_leftovers_info as module
from ansible_collections.multicompute.spin.plugins.modules.aws_leftovers_info import (
    as_dict,
    chunks,
    is_gone,
    split_arn,
)
from ansible_collections.multicompute.spin.tests.unit.plugins._stub import (
    AwsError,
    FakeAws,
    run_module,
)
from hypothesis import given
from hypothesis import strategies as st

ARN = "arn:aws:{}:eu-central-1:123456789012:{}"
TAGS = [{"Key": "multicompute:deployment", "Value": "demo"}]
EMPTY = {
    "resourcegroupstaggingapi.GetResources": {"ResourceTagMappingList": []},
    "efs.DescribeFileSystems": {"FileSystems": []},
    "efs.DescribeAccessPoints": {"AccessPoints": []},
    "cloudwatch.DescribeAlarms": {"MetricAlarms": []},
    "cloudwatch.ListDashboards": {"DashboardEntries": []},
    "ecr.DescribeRepositories": {"repositories": []},
    "iam.ListRoles": {"Roles": []},
    "iam.ListInstanceProfiles": {"InstanceProfiles": []},
    "iam.ListPolicies": {"Policies": []},
    "lambda.ListFunctions": {"Functions": []},
    "logs.DescribeLogGroups": {"logGroups": []},
    "s3.ListBuckets": {"Buckets": []},
    "sts.GetCallerIdentity": {"Account": "123456789012"},
    "ec2.DescribeTags": {"Tags": []},
    "ecs.ListClusters": {"clusterArns": []},
    "ecs.ListTaskDefinitions": {"taskDefinitionArns": []},
    "elbv2.DescribeLoadBalancers": {"LoadBalancers": []},
    "elbv2.DescribeTargetGroups": {"TargetGroups": []},
    "ssm.DescribeParameters": {"Parameters": []},
}


@pytest.fixture
def account(aws: FakeAws) -> FakeAws:
    for operation, answer in EMPTY.items():
        aws.on(operation, answer)
    return aws


def look() -> list[str]:
    result = run_module(module, {"tag_value": "demo"}, check=True)
    assert not result.get("failed"), result["msg"]
    return [f"{item['service']} {item['type']} {item['id']}" for item in result["leftovers"]]


def hint(account: FakeAws, *arns: str) -> None:
    entries = [{"ResourceARN": arn, "Tags": TAGS} for arn in arns]
    account.on("resourcegroupstaggingapi.GetResources", {"ResourceTagMappingList": entries})


def test_only_reads(account: FakeAws) -> None:
    assert look() == []
    assert account.writes() == []


def test_what_the_tagging_api_still_returns_after_deletion_does_not_count(
    account: FakeAws,
) -> None:
    hint(
        account,
        ARN.format("ec2", "vpc/vpc-1"),
        ARN.format("lambda", "function:demo"),
        ARN.format("ecs", "service/demo/app"),
        ARN.format("elasticloadbalancing", "listener/app/demo/1/2"),
        ARN.format("ssm", "parameter/demo/x"),
    )
    assert look() == []


def test_what_the_tagging_api_alone_knows_counts(account: FakeAws) -> None:
    hint(account, ARN.format("kms", "key/1234"), ARN.format("backup", "backup-vault:demo"))
    assert look() == ["backup backup-vault demo", "kms key 1234"]


def test_300_tagged_resources_on_stubbed_pages(account: FakeAws) -> None:
    def page(params: dict[str, Any]) -> dict[str, Any]:
        start = int(params.get("PaginationToken") or 0)
        numbers = range(start, start + 100)
        more = {"PaginationToken": str(start + 100)} if start < 200 else {"PaginationToken": ""}
        entries = [
            {"ResourceARN": ARN.format("kms", f"key/{number}"), "Tags": TAGS} for number in numbers
        ]
        return {"ResourceTagMappingList": entries, **more}

    account.on("resourcegroupstaggingapi.GetResources", page)
    assert len(set(look())) == 300


def test_120_target_groups_on_stubbed_pages(account: FakeAws) -> None:
    def page(params: dict[str, Any]) -> dict[str, Any]:
        first = int(params.get("Marker", 0))
        more = {"NextMarker": str(first + 50)} if first < 100 else {}
        groups = [
            {
                "TargetGroupArn": ARN.format("elasticloadbalancing", f"targetgroup/g{number}/1"),
                "TargetGroupName": f"g{number}",
            }
            for number in range(first, min(first + 50, 120))
        ]
        return {"TargetGroups": groups} | more

    def tags(params: dict[str, Any]) -> Any:
        # As many as DescribeTags takes.
        if len(params["ResourceArns"]) > 20:
            return AwsError("ValidationError", "member must have length less than or equal to 20")
        return {
            "TagDescriptions": [
                {"ResourceArn": arn, "Tags": TAGS} for arn in params["ResourceArns"]
            ]
        }

    account.on("elbv2.DescribeTargetGroups", page)
    account.on("elbv2.DescribeTags", tags)
    names = [f"elasticloadbalancing targetgroup g{number}" for number in range(120)]
    assert sorted(look()) == sorted(names)


def test_resources_without_the_name_are_found_through_the_tagging_api(account: FakeAws) -> None:
    arns = [ARN.format("lambda", f"function:{name}") for name in ("mine", "foreign", "demo-x")]
    functions = [{"FunctionName": arn.rsplit(":", 1)[-1], "FunctionArn": arn} for arn in arns]
    account.on("lambda.ListFunctions", {"Functions": functions})
    account.on("lambda.ListTags", {"Tags": {"multicompute:deployment": "demo"}})
    hint(account, arns[0])
    assert look() == ["lambda function demo-x", "lambda function mine"]
    assert len(account.params("ListTags")) == 2


def test_a_resource_that_goes_while_it_is_looked_at(account: FakeAws) -> None:
    role = {
        "RoleName": "demo",
        "Arn": "arn:aws:iam::123456789012:role/demo",
        "Path": "/",
        "RoleId": "AROA1234567890123456",
        "CreateDate": 0,
    }
    account.on("iam.ListRoles", {"Roles": [role]})
    account.on("iam.ListRoleTags", AwsError("NoSuchEntity", "gone", 404))
    assert look() == []


def test_deleted_ec2_resources_are_still_tagged_for_a_while(account: FakeAws) -> None:
    kinds = {"instance": "i-1", "natgateway": "nat-1", "vpc-endpoint": "vpce-1"}
    tags = [{"ResourceType": kind, "ResourceId": one, **TAGS[0]} for kind, one in kinds.items()]
    account.on("ec2.DescribeTags", {"Tags": tags})
    for state, gone in (("terminated", True), ("shutting-down", False), ("running", False)):
        instance = {"InstanceId": "i-1", "State": {"Name": state}, "Tags": TAGS}
        account.on("ec2.DescribeInstances", {"Reservations": [{"Instances": [instance]}]})
        for other, other_gone in (("deleted", True), ("deleting", False), ("available", False)):
            gateway = {"NatGatewayId": "nat-1", "State": other, "Tags": TAGS}
            account.on("ec2.DescribeNatGateways", {"NatGateways": [gateway]})
            endpoint = {"VpcEndpointId": "vpce-1", "State": other, "Tags": TAGS}
            account.on("ec2.DescribeVpcEndpoints", {"VpcEndpoints": [endpoint]})
            expected = [] if gone else ["ec2 instance i-1"]
            expected += [] if other_gone else ["ec2 natgateway nat-1", "ec2 vpc-endpoint vpce-1"]
            assert look() == expected


def test_ec2_resources_of_a_kind_that_is_not_looked_at_count_as_they_are(
    account: FakeAws,
) -> None:
    tag = {"ResourceType": "prefix-list", "ResourceId": "pl-1", **TAGS[0]}
    account.on("ec2.DescribeTags", {"Tags": [tag]})
    assert look() == ["ec2 prefix-list pl-1"]


def test_inactive_ecs_resources_do_not_count(account: FakeAws) -> None:
    lower = [{"key": "multicompute:deployment", "value": "demo"}]
    cluster = {"clusterName": "demo", "clusterArn": ARN.format("ecs", "cluster/demo")}
    service = {"serviceName": "app", "serviceArn": ARN.format("ecs", "service/demo/app")}
    account.on("ecs.ListClusters", {"clusterArns": [cluster["clusterArn"]]})
    account.on("ecs.ListServices", {"serviceArns": [service["serviceArn"]]})
    for state, count in (("ACTIVE", 2), ("DRAINING", 2), ("INACTIVE", 0)):
        status = {"status": state, "tags": lower}
        account.on("ecs.DescribeClusters", {"clusters": [{**cluster, **status}]})
        account.on("ecs.DescribeServices", {"services": [{**service, **status}]})
        assert len(look()) == count


def test_a_service_in_an_untagged_cluster_is_found(account: FakeAws) -> None:
    arn = ARN.format("ecs", "service/shared/app")
    lower = [{"key": "multicompute:deployment", "value": "demo"}]
    account.on("ecs.ListClusters", {"clusterArns": [ARN.format("ecs", "cluster/shared")]})
    account.on("ecs.DescribeClusters", {"clusters": [{"clusterName": "shared"}]})
    account.on("ecs.ListServices", {"serviceArns": [arn]})
    service = {"serviceName": "app", "serviceArn": arn, "status": "ACTIVE", "tags": lower}
    account.on("ecs.DescribeServices", {"services": [service]})
    hint(account, arn)
    assert look() == ["ecs service app"]


def test_a_file_system_that_is_being_deleted_still_counts(account: FakeAws) -> None:
    system = {
        "OwnerId": "123456789012",
        "CreationToken": "x",
        "FileSystemId": "fs-0123456789abcdef0",
        "FileSystemArn": ARN.format("elasticfilesystem", "file-system/fs-0123456789abcdef0"),
        "CreationTime": 0,
        "NumberOfMountTargets": 0,
        "SizeInBytes": {"Value": 0},
        "PerformanceMode": "generalPurpose",
        "Tags": TAGS,
    }
    for state, count in (("available", 1), ("deleting", 1), ("deleted", 0)):
        account.on(
            "efs.DescribeFileSystems", {"FileSystems": [{**system, "LifeCycleState": state}]}
        )
        assert len(look()) == count


@pytest.mark.parametrize("operation", sorted(set(EMPTY) - {"sts.GetCallerIdentity"}))
def test_a_refused_call_is_no_proof(account: FakeAws, operation: str) -> None:
    account.on(operation, AwsError("AccessDenied", "not allowed", 403))
    result = run_module(module, {"tag_value": "demo"})
    assert result["failed"]
    service = operation.split(".")[0]
    assert f"Could not look for leftovers of demo in {service} (allow " in result["msg"]


def test_tag_value_is_required(aws: FakeAws) -> None:
    assert "missing required arguments: tag_value" in run_module(module, {})["msg"]


# --- pure functions -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("resource", "parts"),
    [
        ("vpc/vpc-1", ("vpc", "vpc-1")),
        ("function:demo:live", ("function", "demo:live")),
        ("service/demo/app", ("service", "demo/app")),
        ("/restapis/1", ("restapis", "1")),
        ("queue", ("", "queue")),
        ("log-group:/demo/x", ("log-group", "/demo/x")),
    ],
)
def test_split_arn(resource: str, parts: tuple[str, str]) -> None:
    assert split_arn(ARN.format("x", resource)) == ("x", *parts)


@given(st.dictionaries(st.text(), st.text()))
def test_tags_are_the_same_in_every_notation(tags: dict[str, str]) -> None:
    upper = [{"Key": key, "Value": value} for key, value in tags.items()]
    lower = [{"key": key, "value": value} for key, value in tags.items()]
    assert as_dict(tags) == as_dict(upper) == as_dict(lower) == tags
    assert as_dict(None) == {}


@given(st.lists(st.text()), st.integers(1, 20))
def test_chunks(items: list[str], size: int) -> None:
    parts = list(chunks(items, size))
    assert [item for part in parts for item in part] == items
    assert all(0 < len(part) <= size for part in parts)


def test_what_has_no_state_is_there() -> None:
    assert not is_gone({"Name": "x"})
