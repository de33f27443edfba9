"""Lambda functions behind the load balancer: permission, events and answers."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from botocore.exceptions import ClientError

from .balancing import Balancer, balancer, metric, upstream_request
from .conftest import Api, LocalCloud, until

HANDLER = """
import json
def handler(event, context):
    if event.get("path") == "/broken":
        return "no response"
    return {
        "statusCode": 201,
        "headers": {"x-single": "1"},
        "multiValueHeaders": {"x-multi": ["1", "2"]},
        "body": json.dumps(event),
    }
"""


@contextmanager
def function(api: Api, name: str) -> Iterator[str]:
    """A Python function that answers with the event it got; its ARN."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("app.py", HANDLER)
    client = api.client("lambda")
    made = client.create_function(
        FunctionName=name,
        Runtime="python3.12",
        Handler="app.handler",
        Role="arn:aws:iam::000000000000:role/any",
        Code={"ZipFile": archive.getvalue()},
    )
    try:
        yield made["FunctionArn"]
    finally:
        client.delete_function(FunctionName=name)


def permit(api: Api, function: str, source: str, **more: str) -> None:
    api.client("lambda").add_permission(
        FunctionName=function,
        StatementId="balancer",
        Action="lambda:InvokeFunction",
        Principal="elasticloadbalancing.amazonaws.com",
        SourceArn=source,
        **more,
    )


@contextmanager
def behind_balancer(api: Api, name: str) -> Iterator[tuple[Balancer, str, str]]:
    """A permitted and registered function behind a listener."""
    with balancer(api, []) as behind, function(api, name) as arn:
        group = behind.add_group("lambda")
        permit(api, arn, group)
        behind.elb.register_targets(TargetGroupArn=group, Targets=[{"Id": arn}])
        behind.listen()
        yield behind, group, arn


def refused(call: Callable[..., Any], **arguments: Any) -> dict[str, str]:
    with pytest.raises(ClientError) as raised:
        call(**arguments)
    return raised.value.response["Error"]


def test_registration_needs_the_functions_permission_for_this_group(
    local_cloud: LocalCloud,
) -> None:
    with balancer(local_cloud, []) as behind, function(local_cloud, "permitted") as arn:
        group, other = behind.add_group("lambda"), behind.add_group("lambda")
        wanted = {"TargetGroupArn": group, "Targets": [{"Id": arn}]}
        error = refused(behind.elb.register_targets, **wanted)
        assert error["Code"] == "AccessDenied"
        assert f"permission to invoke {arn} from target group {group}" in error["Message"]
        permit(local_cloud, arn, other)
        assert refused(behind.elb.register_targets, **wanted)["Code"] == "AccessDenied"
        lambdas = local_cloud.client("lambda")
        lambdas.remove_permission(FunctionName=arn, StatementId="balancer")
        permit(local_cloud, arn, group, SourceAccount="111111111111")
        assert refused(behind.elb.register_targets, **wanted)["Code"] == "AccessDenied"
        lambdas.remove_permission(FunctionName=arn, StatementId="balancer")
        permit(local_cloud, arn, group, SourceAccount="000000000000")
        behind.elb.register_targets(**wanted)


def test_a_permission_of_the_function_is_none_of_its_alias(local_cloud: LocalCloud) -> None:
    with balancer(local_cloud, []) as behind, function(local_cloud, "aliased") as arn:
        lambdas = local_cloud.client("lambda")
        version = lambdas.publish_version(FunctionName=arn)["Version"]
        alias = lambdas.create_alias(FunctionName=arn, Name="live", FunctionVersion=version)
        group = behind.add_group("lambda")
        wanted = {"TargetGroupArn": group, "Targets": [{"Id": alias["AliasArn"]}]}
        permit(local_cloud, arn, group)
        assert refused(behind.elb.register_targets, **wanted)["Code"] == "AccessDenied"
        lambdas.remove_permission(FunctionName=arn, StatementId="balancer")
        permit(local_cloud, arn, group, Qualifier="live")
        behind.elb.register_targets(**wanted)
        behind.listen()
        assert behind.get()[0] == 201


def permit_twice(api: Api, arn: str) -> None:
    """By the same name, for the function and for its version."""
    version = api.client("lambda").publish_version(FunctionName=arn)["Version"]
    permit(api, arn, "x")
    permit(api, arn, "x", Qualifier=version)


def test_a_version_has_a_policy_of_its_own(local_cloud: LocalCloud) -> None:
    with function(local_cloud, "versioned") as arn:
        permit_twice(local_cloud, arn)
        assert refused(permit, api=local_cloud, function=arn, source="x")["Code"] == (
            "ResourceConflictException"
        )


def test_upstream_has_one_policy_for_all_versions(plain_ministack: Api) -> None:
    with function(plain_ministack, "versioned") as arn:
        error = refused(permit_twice, api=plain_ministack, arn=arn)
        assert error["Code"] == "ResourceConflictException"


def test_a_group_takes_one_function(local_cloud: LocalCloud) -> None:
    with behind_balancer(local_cloud, "first") as (behind, group, arn):
        wanted = {"TargetGroupArn": group, "Targets": [{"Id": f"{arn}-second"}]}
        assert refused(behind.elb.register_targets, **wanted)["Code"] == "TooManyTargets"


def test_upstream_registers_a_function_without_permission(plain_ministack: Api) -> None:
    with balancer(plain_ministack, []) as behind, function(plain_ministack, "free") as arn:
        group = behind.add_group("lambda")
        behind.elb.register_targets(TargetGroupArn=group, Targets=[{"Id": arn}])
        behind.listen({group: 1})
        actions = [{"Type": "forward", "TargetGroupArn": group}]
        behind.elb.modify_listener(ListenerArn=behind.listener, DefaultActions=actions)
        assert upstream_request(plain_ministack, behind.arn)[0] == 201


def test_a_revoked_permission_is_a_502(local_cloud: LocalCloud) -> None:
    with behind_balancer(local_cloud, "revoked") as (behind, _, arn):
        assert behind.get()[0] == 201
        local_cloud.client("lambda").remove_permission(FunctionName=arn, StatementId="balancer")
        assert behind.get()[0] == 502


def test_the_event_and_the_answer(local_cloud: LocalCloud) -> None:
    with behind_balancer(local_cloud, "single") as (behind, group, _):
        status, headers, event = behind.get(
            "/a%20b?q=1&q=%202", "POST", body=b"hello", headers={"Host": "app.example"}
        )
        assert status == 201
        assert (headers["x-single"], headers["x-multi"]) == ("1", None)
        assert event["requestContext"] == {"elb": {"targetGroupArn": group}}
        assert (event["httpMethod"], event["path"]) == ("POST", "/a%20b")
        assert event["queryStringParameters"] == {"q": "%202"}
        assert (event["body"], event["isBase64Encoded"]) == ("hello", False)
        assert event["headers"]["host"] == "app.example"
        assert event["headers"]["x-forwarded-for"] == "127.0.0.1"
        assert "multiValueHeaders" not in event


def test_bytes_that_are_no_text_come_as_base64(local_cloud: LocalCloud) -> None:
    with behind_balancer(local_cloud, "binary") as (behind, _, _arn):
        event = behind.get("/", "POST", body=b"\xff\xfe")[2]
        assert (event["body"], event["isBase64Encoded"]) == ("//4=", True)


def test_multi_value_headers(local_cloud: LocalCloud) -> None:
    with behind_balancer(local_cloud, "multi") as (behind, group, _):
        behind.elb.modify_target_group_attributes(
            TargetGroupArn=group,
            Attributes=[{"Key": "lambda.multi_value_headers.enabled", "Value": "true"}],
        )
        _, headers, event = behind.get("/?q=1&q=2")
        assert event["multiValueQueryStringParameters"] == {"q": ["1", "2"]}
        assert event["multiValueHeaders"]["x-forwarded-for"] == ["127.0.0.1"]
        assert "headers" not in event
        assert headers.get_all("x-multi") == ["1", "2"]
        assert headers["x-single"] is None


def test_upstream_sends_both_notations(plain_ministack: Api) -> None:
    with balancer(plain_ministack, []) as behind, function(plain_ministack, "both") as arn:
        group = behind.add_group("lambda")
        behind.elb.register_targets(TargetGroupArn=group, Targets=[{"Id": arn}])
        behind.elb.modify_target_group_attributes(
            TargetGroupArn=group,
            Attributes=[{"Key": "lambda.multi_value_headers.enabled", "Value": "true"}],
        )
        behind.listen({group: 1})
        actions = [{"Type": "forward", "TargetGroupArn": group}]
        behind.elb.modify_listener(ListenerArn=behind.listener, DefaultActions=actions)
        event = json.loads(upstream_request(plain_ministack, behind.arn)[1])
        assert {"headers", "multiValueHeaders"} <= set(event)


def test_an_answer_that_is_no_response_is_a_502(local_cloud: LocalCloud) -> None:
    with behind_balancer(local_cloud, "broken") as (behind, group, _arn):
        assert behind.get("/broken")[0] == 502
        until(lambda: metric(local_cloud, "LambdaUserError", "Sum", behind, group) == 1, 3)
        assert metric(local_cloud, "TargetConnectionErrorCount", "Sum", behind, group) == 0


def test_a_function_is_not_checked_unless_asked(local_cloud: LocalCloud) -> None:
    with behind_balancer(local_cloud, "unchecked") as (behind, group, _):
        assert behind.states(group) == {None: "unavailable"}
        described = behind.elb.describe_target_groups(TargetGroupArns=[group])["TargetGroups"][0]
        assert described["HealthCheckEnabled"] is False
        assert "Port" not in described
        behind.elb.modify_target_group(
            TargetGroupArn=group, HealthCheckEnabled=True, Matcher={"HttpCode": "201"}
        )
        behind.wait_healthy()
