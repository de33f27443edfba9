"""Injected faults: what clients see of them, and that they end."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from .conftest import LocalCloud


def faults(cloud: LocalCloud, method: str = "GET", content: Any = None) -> Any:
    request = urllib.request.Request(
        f"{cloud.endpoint}/_local_cloud/faults",
        method=method,
        data=json.dumps(content).encode() if content is not None else None,
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


@pytest.fixture
def cloud(local_cloud: LocalCloud) -> Iterator[LocalCloud]:
    yield local_cloud
    faults(local_cloud, "DELETE")


DENIED = ("AccessDenied", "UnauthorizedOperation")
CALLS = [
    ("ec2", "describe_vpcs", {}, "ec2:DescribeVpcs", "RequestLimitExceeded"),
    ("elbv2", "describe_rules", {}, "elasticloadbalancing:DescribeRules", "Throttling"),
    ("iam", "list_roles", {}, "iam:ListRoles", "Throttling"),
    ("s3", "list_buckets", {}, "s3:ListAllMyBuckets", "SlowDown"),
    ("lambda", "list_functions", {}, "lambda:ListFunctions", "TooManyRequestsException"),
    ("ecs", "list_clusters", {}, "ecs:ListClusters", "ThrottlingException"),
    ("logs", "describe_log_groups", {}, "logs:DescribeLogGroups", "ThrottlingException"),
    (
        "efs",
        "describe_file_systems",
        {},
        "elasticfilesystem:DescribeFileSystems",
        "ThrottlingException",
    ),
]


@pytest.mark.parametrize(("service", "call", "arguments", "action", "throttled"), CALLS)
def test_each_kind_in_the_protocol_of_the_service(
    cloud: LocalCloud, service: str, call: str, arguments: dict, action: str, throttled: str
) -> None:
    client = cloud.client(service)

    def refused(kind: str) -> tuple[str, int]:
        faults(cloud, "PUT", [{"action": action, "kind": kind, "count": 1}])
        with pytest.raises(ClientError) as raised:
            getattr(client, call)(**arguments)
        answer = raised.value.response
        return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]

    assert refused("throttling")[0] == throttled
    assert refused("unavailable") == ("InternalFailure", 500)
    assert refused("denied")[0] in (
        "AccessDenied",
        "AccessDeniedException",
        "UnauthorizedOperation",
    )
    getattr(client, call)(**arguments)


def test_a_fault_ends_after_its_count_and_says_how_often_it_was_hit(cloud: LocalCloud) -> None:
    ec2 = cloud.client("ec2")
    faults(cloud, "PUT", [{"action": "ec2:Describe*", "kind": "unavailable", "count": 2}])
    for _ in range(2):
        with pytest.raises(ClientError):
            ec2.describe_vpcs()
    ec2.describe_vpcs()
    ec2.describe_subnets()
    assert [fault["hits"] for fault in faults(cloud)] == [2]


def test_other_actions_are_left_alone(cloud: LocalCloud) -> None:
    faults(cloud, "PUT", [{"action": "ec2:DescribeSubnets", "kind": "denied"}])
    cloud.client("ec2").describe_vpcs()
    cloud.client("iam").list_roles()
    assert [fault["hits"] for fault in faults(cloud)] == [0]


def test_a_cut_request_was_carried_out(cloud: LocalCloud) -> None:
    iam = cloud.client("iam")
    faults(cloud, "PUT", [{"action": "iam:CreateUser", "kind": "cut", "count": 1}])
    with pytest.raises(ConnectionClosedError):
        iam.create_user(UserName="cut")
    assert iam.get_user(UserName="cut")["User"]["UserName"] == "cut"
    iam.delete_user(UserName="cut")


def test_clients_that_retry_get_through(cloud: LocalCloud) -> None:
    patient = cloud.client("ec2", retries={"total_max_attempts": 5, "mode": "standard"})
    faults(
        cloud,
        "PUT",
        [
            {"action": "ec2:DescribeVpcs", "kind": "throttling", "count": 1},
            {"action": "ec2:DescribeVpcs", "kind": "cut", "count": 1},
        ],
    )
    assert patient.describe_vpcs()["ResponseMetadata"]["RetryAttempts"] == 2


def test_latency(cloud: LocalCloud) -> None:
    faults(cloud, "PUT", [{"action": "ec2:DescribeVpcs", "kind": "latency", "seconds": 1}])
    started = time.monotonic()
    cloud.client("ec2").describe_vpcs()
    assert time.monotonic() - started >= 1


@pytest.mark.parametrize("wrong", [[{"action": "ec2:*", "kind": "rain"}], [{"kind": "cut"}], "x"])
def test_faults_that_make_no_sense_are_refused(cloud: LocalCloud, wrong: Any) -> None:
    with pytest.raises(urllib.error.HTTPError) as raised:
        faults(cloud, "PUT", wrong)
    assert raised.value.code == 400
    assert faults(cloud) == []
