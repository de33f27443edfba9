# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The check of recorded requests finds what it is there to find."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.multicompute.spin.tests.e2e import api_requests

# Nothing listens there: a request is recorded before it is sent.
CLIENT = """
import boto3, botocore.config, contextlib, io
iam = boto3.client("iam", region_name="us-east-1", endpoint_url="http://127.0.0.1:1",
    aws_access_key_id="a", aws_secret_access_key="b",
    config=botocore.config.Config(retries={"total_max_attempts": 1}))
with contextlib.suppress(Exception):
    iam.get_paginator("list_roles").paginate(PathPrefix="no/slash").build_full_result()
s3 = boto3.Session().client("s3", region_name="us-east-1", endpoint_url="http://127.0.0.1:1",
    aws_access_key_id="a", aws_secret_access_key="b")
with contextlib.suppress(Exception):
    s3.put_object(Bucket="demo", Key="app.tar", Body=io.BytesIO(b"content"))
"""


def test_what_a_process_asks_for_is_recorded_and_checked(tmp_path: Path) -> None:
    file = tmp_path / "requests"
    environment = os.environ | api_requests.recording(file)
    subprocess.run([sys.executable, "-c", CLIENT], env=environment, check=True, timeout=60)
    requests = api_requests.read(file)
    assert requests.counts == {"iam.ListRoles": 1, "s3.PutObject": 1}
    assert requests.problems == [
        r"iam.ListRoles: .PathPrefix: 'no/slash' does not match \u002F[\u0021-\u007F]*"
    ]


@pytest.mark.parametrize(
    ("service", "operation", "params", "problem"),
    [
        ("ecs", "StartFire", {}, "no such operation"),
        ("ecs", "DeleteCluster", {}, 'Missing required parameter in input: "cluster"'),
        ("ecs", "DeleteCluster", {"cluster": 1}, "Invalid type for parameter cluster"),
        ("ecs", "DeleteCluster", {"cluster": "a", "force": True}, "Unknown parameter in input"),
        (
            "elbv2",
            "CreateTargetGroup",
            {"Name": "a", "TargetType": "function"},
            ".TargetType: 'function' is none of instance, ip, lambda, alb",
        ),
        (
            "efs",
            "TagResource",
            {"ResourceId": "fs-00000001", "Tags": [{"Key": "aws:demo", "Value": "é 1"}]},
            ".Tags[0].Key: 'aws:demo' does not match",
        ),
        (
            "application-autoscaling",
            "DescribeScheduledActions",
            {"ServiceNamespace": "ecs", "ResourceId": "service/demo/a\0"},
            ".ResourceId: 'service/demo/a\\x00' does not match",
        ),
        (
            "lambda",
            "CreateFunction",
            {
                "FunctionName": "a",
                "Role": "arn:aws:iam::123456789012:role/a",
                "Code": {},
                "Timeout": 0,
            },
            "Invalid value for parameter Timeout",
        ),
        (
            "iam",
            "CreateRole",
            {"RoleName": "r" * 65, "AssumeRolePolicyDocument": "{}"},
            "has size 65, not 1..64",
        ),
        (
            "iam",
            "CreateRole",
            {"RoleName": "r", "AssumeRolePolicyDocument": "{}", "Description": "dash – dash"},
            ".Description: 'dash – dash' does not match",
        ),
    ],
)
def test_what_aws_refuses_is_a_problem(
    service: str, operation: str, params: dict[str, Any], problem: str
) -> None:
    problems = api_requests.check(service, operation, params)
    assert len(problems) == 1
    assert problem in problems[0]


def test_what_aws_takes_is_none() -> None:
    tags = [{"key": "multicompute:deployment", "value": "Größe 1"}]
    assert api_requests.check("ecs", "CreateCluster", {"clusterName": "demo", "tags": tags}) == []
    assert api_requests.check("sts", "GetCallerIdentity", {}) == []
