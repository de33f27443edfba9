# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from ansible_collections.multicompute.spin.plugins.modules import elb_lambda_target as module
from ansible_collections.multicompute.spin.plugins.modules.elb_lambda_target import (
    own_statements,
    split_function_arn,
    statement_id,
    wanted,
)
from ansible_collections.multicompute.spin.tests.unit.plugins._stub import (
    AwsError,
    FakeAws,
    run_module,
)
from hypothesis import given
from hypothesis import strategies as st

ACCOUNT = "123456789012"
GROUP = f"arn:aws:elasticloadbalancing:eu-central-1:{ACCOUNT}:targetgroup/demo/0123456789abcdef"
SID = "elb-demo-0123456789abcdef"
OLD = f"arn:aws:lambda:eu-central-1:{ACCOUNT}:function:old:live"
NEW = f"arn:aws:lambda:eu-central-1:{ACCOUNT}:function:new:live"
WHOLE = f"arn:aws:lambda:eu-central-1:{ACCOUNT}:function:new"


class FakeCloud:
    """A target group and functions, the way that the APIs show them."""

    def __init__(self, aws: FakeAws) -> None:
        self.aws = aws
        self.group: dict[str, Any] | None = {
            "TargetGroupArn": GROUP,
            "TargetType": "lambda",
            "HealthCheckEnabled": False,
        }
        self.targets: dict[str, str] = {}
        self.health = ["healthy"]
        self.attributes = {"lambda.multi_value_headers.enabled": "false"}
        self.functions: dict[str, list[str]] = {OLD: ["Active"], NEW: ["Active"], WHOLE: ["Active"]}
        self.policies: dict[str, list[dict[str, Any]]] = {}
        self.not_spread_yet = 0
        for service, operations in {
            "elbv2": [
                "DescribeTargetGroups",
                "DescribeTargetHealth",
                "DescribeTargetGroupAttributes",
                "ModifyTargetGroupAttributes",
                "RegisterTargets",
                "DeregisterTargets",
            ],
            "lambda": [
                "GetPolicy",
                "GetFunctionConfiguration",
                "AddPermission",
                "RemovePermission",
            ],
        }.items():
            for operation in operations:
                aws.on(f"{service}.{operation}", getattr(self, operation))

    def DescribeTargetGroups(self, params: dict[str, Any]) -> Any:
        if "placeholder" in params["TargetGroupArns"][0]:
            return AwsError("ValidationError", "not a valid target group ARN")
        if not self.group or params["TargetGroupArns"] != [GROUP]:
            return AwsError("TargetGroupNotFound", "One or more target groups not found")
        return {"TargetGroups": [self.group]}

    def DescribeTargetHealth(self, params: dict[str, Any]) -> Any:
        state = self.health.pop(0) if len(self.health) > 1 else self.health[0]
        return {
            "TargetHealthDescriptions": [
                {"Target": {"Id": arn}, "TargetHealth": {"State": fixed or state}}
                for arn, fixed in self.targets.items()
            ]
        }

    def DescribeTargetGroupAttributes(self, params: dict[str, Any]) -> Any:
        return {"Attributes": [{"Key": k, "Value": v} for k, v in self.attributes.items()]}

    def ModifyTargetGroupAttributes(self, params: dict[str, Any]) -> Any:
        self.attributes |= {entry["Key"]: entry["Value"] for entry in params["Attributes"]}
        return {}

    def RegisterTargets(self, params: dict[str, Any]) -> Any:
        (target,) = params["Targets"]
        permitted = own_statements({"Statement": self.policies.get(target["Id"], [])}, GROUP)
        if self.not_spread_yet or not any(permitted.values()):
            self.not_spread_yet -= 1
            text = "elasticloadbalancing principal does not have permission to invoke it"
            return AwsError("AccessDenied", text, 403)
        if any(state != "draining" for state in self.targets.values()):
            return AwsError("TooManyTargets", "one function per target group")
        self.targets[target["Id"]] = ""
        return {}

    def DeregisterTargets(self, params: dict[str, Any]) -> Any:
        for target in params["Targets"]:
            del self.targets[target["Id"]]
        return {}

    def _statements(self, params: dict[str, Any]) -> list[dict[str, Any]] | None:
        arn = ":".join(filter(None, [params["FunctionName"], params.get("Qualifier")]))
        return self.policies.setdefault(arn, []) if arn in self.functions else None

    def GetPolicy(self, params: dict[str, Any]) -> Any:
        statements = self._statements(params)
        if not statements:
            return AwsError("ResourceNotFoundException", "no policy", 404)
        return {"Policy": json.dumps({"Statement": statements})}

    def GetFunctionConfiguration(self, params: dict[str, Any]) -> Any:
        if self._statements(params) is None:
            return AwsError("ResourceNotFoundException", "Function not found", 404)
        states = self.functions[f"{params['FunctionName']}:{params['Qualifier']}"]
        state = states.pop(0) if len(states) > 1 else states[0]
        return {"State": state, "StateReason": "image is gone"}

    def AddPermission(self, params: dict[str, Any]) -> Any:
        statements = self._statements(params)
        if statements is None:
            return AwsError("ResourceNotFoundException", "Function not found", 404)
        if any(one["Sid"] == params["StatementId"] for one in statements):
            return AwsError("ResourceConflictException", "The statement id exists", 409)
        statements.append(
            statement(params["StatementId"], params["SourceArn"], params["SourceAccount"])
        )
        return {}

    def RemovePermission(self, params: dict[str, Any]) -> Any:
        statements = self._statements(params)
        if not statements:
            return AwsError("ResourceNotFoundException", "no policy", 404)
        statements[:] = [one for one in statements if one["Sid"] != params["StatementId"]]
        return {}


def statement(sid: str = SID, source: str = GROUP, account: str = ACCOUNT) -> dict[str, Any]:
    return {
        "Sid": sid,
        "Effect": "Allow",
        "Principal": {"Service": "elasticloadbalancing.amazonaws.com"},
        "Action": "lambda:InvokeFunction",
        "Resource": "whatever",
        "Condition": {
            "ArnLike": {"AWS:SourceArn": source},
            "StringEquals": {"AWS:SourceAccount": account},
        },
    }


@pytest.fixture
def cloud(aws: FakeAws) -> FakeCloud:
    return FakeCloud(aws)


def run(*, check: bool = False, **options: Any) -> dict[str, Any]:
    return run_module(module, {"target_group_arn": GROUP, **options}, check=check)


# --- each step: predicted, done as predicted, done only once ------------------------------------

STEPS: list[tuple[dict[str, Any], list[str]]] = [
    ({"function_arn": OLD}, [OLD]),
    ({"function_arn": OLD, "multi_value_headers": True}, [OLD]),
    ({"function_arn": NEW}, [NEW]),
    ({"function_arn": NEW, "state": "absent"}, []),
    ({"function_arn": OLD, "multi_value_headers": False}, [OLD]),
    ({"state": "absent"}, []),
]


def test_check_predicts_the_diff_of_each_step_and_a_second_run_is_unchanged(
    cloud: FakeCloud, aws: FakeAws
) -> None:
    for options, registered in STEPS:
        predicted = run(check=True, **options)
        assert aws.writes() == [], options
        done = run(**options)
        assert done["changed"], options
        assert predicted["diff"] == done["diff"], options
        assert list(cloud.targets) == done["targets"] == registered
        permitted = [arn for arn, statements in cloud.policies.items() if statements]
        assert permitted == done["permissions"] == registered
        aws.calls.clear()
        for check in (False, True):
            again = run(check=check, **options)
            assert not again["changed"], options
            assert again["diff"]["after"] == done["diff"]["after"]
        assert aws.writes() == []


def test_permission_is_for_this_target_group_and_account_alone(
    cloud: FakeCloud, aws: FakeAws
) -> None:
    run(function_arn=NEW)
    assert aws.params("AddPermission") == [
        {
            "FunctionName": WHOLE,
            "Qualifier": "live",
            "StatementId": SID,
            "Action": "lambda:InvokeFunction",
            "Principal": "elasticloadbalancing.amazonaws.com",
            "SourceArn": GROUP,
            "SourceAccount": ACCOUNT,
        }
    ]


def test_a_function_without_alias(cloud: FakeCloud, aws: FakeAws) -> None:
    aws.on("lambda.GetFunctionConfiguration", {"State": "Active"})
    assert run(function_arn=WHOLE)["targets"] == [WHOLE]
    assert "Qualifier" not in aws.params("AddPermission")[0]


@pytest.mark.parametrize(
    "wrong",
    [
        statement(account="999999999999"),
        statement(source=GROUP + "x"),
        {**statement(), "Condition": {}},
        {**statement(), "Action": "lambda:GetFunction"},
        {**statement(sid="other"), "Effect": "Deny"},
    ],
)
def test_a_statement_that_does_not_do_is_replaced(cloud: FakeCloud, wrong: dict[str, Any]) -> None:
    cloud.policies[NEW] = [wrong]
    assert run(function_arn=NEW)["changed"]
    assert cloud.policies[NEW] == [statement()]


def test_statements_of_others_are_left_alone(cloud: FakeCloud) -> None:
    other = statement(sid="elb-other-1", source=GROUP.replace("demo", "other"))
    cloud.policies[NEW] = [copy.deepcopy(other)]
    run(function_arn=NEW)
    run(state="absent")
    assert cloud.policies[NEW] == [other]


def test_a_permission_written_in_another_case_is_unchanged(cloud: FakeCloud) -> None:
    same = statement(sid="by-hand")
    same["Condition"] = {
        "StringEquals": {"aws:SourceAccount": ACCOUNT},
        "ArnLike": {"aws:sourceArn": GROUP},
    }
    cloud.policies[NEW] = [same]
    cloud.targets = {NEW: ""}
    assert not run(function_arn=NEW)["changed"]


def test_a_function_that_was_recreated_gets_its_permission_again(cloud: FakeCloud) -> None:
    run(function_arn=NEW)
    cloud.policies.clear()
    assert run(function_arn=NEW)["changed"]
    assert cloud.policies[NEW] == [statement()]


def test_a_stale_target_whose_function_is_gone(cloud: FakeCloud) -> None:
    run(function_arn=OLD)
    del cloud.functions[OLD]
    assert run(function_arn=NEW)["targets"] == [NEW]


def test_a_draining_target_does_not_count(cloud: FakeCloud) -> None:
    cloud.targets = {OLD: "draining"}
    assert run(function_arn=NEW)["targets"] == [NEW]


def test_absent_of_a_function_that_is_not_the_target(cloud: FakeCloud) -> None:
    run(function_arn=OLD)
    assert not run(function_arn=NEW, state="absent")["changed"]
    assert list(cloud.targets) == [OLD]


def test_absent_removes_the_permission_of_a_deleted_target_group(cloud: FakeCloud) -> None:
    run(function_arn=NEW)
    cloud.group = None
    cloud.targets = {}
    assert run(function_arn=NEW, state="absent")["changed"]
    assert cloud.policies[NEW] == []
    assert not run(function_arn=NEW, state="absent")["changed"]


# --- waiting ------------------------------------------------------------------------------------


def test_waits_for_a_pending_function_before_it_is_a_target(cloud: FakeCloud, aws: FakeAws) -> None:
    cloud.functions[NEW] = ["Pending", "Pending", "Active"]
    run(function_arn=NEW)
    operations = aws.operations()
    assert operations.count("GetFunctionConfiguration") == 3
    assert operations.index("AddPermission") < operations.index("RegisterTargets")


def test_an_idle_function_is_registered_as_it_is(cloud: FakeCloud, aws: FakeAws) -> None:
    cloud.functions[NEW] = ["Inactive"]
    assert run(function_arn=NEW)["targets"] == [NEW]
    assert aws.operations().count("GetFunctionConfiguration") == 1


@pytest.mark.parametrize("states", [["Failed"], ["Pending", "Failed"]])
def test_a_failed_function_is_no_target(cloud: FakeCloud, states: list[str]) -> None:
    cloud.functions[NEW] = states
    result = run(function_arn=NEW)
    assert result["failed"]
    assert "image is gone" in result["msg"]
    assert not cloud.targets


def test_a_permission_that_is_not_spread_yet_is_retried(cloud: FakeCloud, aws: FakeAws) -> None:
    cloud.not_spread_yet = 2
    assert run(function_arn=NEW)["targets"] == [NEW]
    assert aws.operations().count("RegisterTargets") == 3


@pytest.mark.parametrize(
    ("check_enabled", "wait", "looks"), [(True, True, 3), (True, False, 1), (False, True, 1)]
)
def test_waits_for_health_only_if_there_is_a_health_check(
    cloud: FakeCloud, aws: FakeAws, check_enabled: bool, wait: bool, looks: int
) -> None:
    assert cloud.group is not None
    cloud.group["HealthCheckEnabled"] = check_enabled
    cloud.health = ["initial", "initial", "healthy"]
    assert run(function_arn=NEW, wait=wait)["changed"]
    assert aws.operations().count("DescribeTargetHealth") == looks


def test_never_healthy(cloud: FakeCloud) -> None:
    assert cloud.group is not None
    cloud.group["HealthCheckEnabled"] = True
    cloud.health = ["unhealthy"]
    result = run(function_arn=NEW, wait_timeout=5)
    assert f"Could not see {NEW} healthy in {GROUP} within 5 s (unhealthy)" in result["msg"]


# --- check mode before anything exists, and errors ----------------------------------------------


@pytest.mark.parametrize("group", [GROUP, "arn:aws:elasticloadbalancing:x:0:placeholder"])
@pytest.mark.parametrize("code", ["ResourceNotFoundException", "ValidationException"])
def test_check_mode_before_anything_exists(
    cloud: FakeCloud, aws: FakeAws, group: str, code: str
) -> None:
    cloud.group = None
    aws.on("lambda.GetPolicy", AwsError(code, status=404))
    function = "arn:aws:lambda:eu-central-1:000000000000:function:demo:live"
    options = {"target_group_arn": group, "function_arn": function, "multi_value_headers": True}
    result = run(check=True, **options)
    assert result["diff"] == {
        "before": {"targets": [], "permissions": [], "multi_value_headers": False},
        "after": {"targets": [function], "permissions": [function], "multi_value_headers": True},
    }
    assert not run(check=True, target_group_arn=group, state="absent")["changed"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "missing: function_arn"),
        ({"function_arn": "demo"}, "'demo', which is no ARN of a Lambda function"),
        ({"function_arn": NEW, "target_group_arn": GROUP + "x"}, "does not exist: create it"),
        ({"function_arn": NEW + "x"}, f"Could not read function {NEW}x"),
    ],
)
def test_errors(cloud: FakeCloud, options: dict[str, Any], message: str) -> None:
    result = run(**options)
    assert result["failed"]
    assert message in result["msg"]
    assert not cloud.targets


def test_a_target_group_of_another_type(cloud: FakeCloud) -> None:
    assert cloud.group is not None
    cloud.group["TargetType"] = "ip"
    assert "has target type ip, it must be lambda" in run(function_arn=NEW)["msg"]


# --- pure functions -----------------------------------------------------------------------------


def test_split_function_arn() -> None:
    assert split_function_arn(NEW) == {"FunctionName": WHOLE, "Qualifier": "live"}
    assert split_function_arn(WHOLE) == {"FunctionName": WHOLE}
    assert split_function_arn(GROUP) == {}


@given(st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9-]{0,30}[A-Za-z0-9])?", fullmatch=True))
def test_statement_id_is_one_that_lambda_takes(name: str) -> None:
    sid = statement_id(GROUP.replace("/demo/", f"/{name}/"))
    assert name in sid
    assert len(sid) <= 100
    assert sid.replace("-", "").replace("_", "").isalnum()


ARNS = st.lists(st.sampled_from([OLD, NEW, WHOLE]), unique=True)


@given(ARNS, ARNS, st.booleans(), st.none() | st.booleans(), st.sampled_from([OLD, NEW, None]))
def test_wanted_is_stable(
    targets: list[str],
    permissions: list[str],
    now: bool,
    headers: bool | None,
    function: str | None,
) -> None:
    before = {"targets": targets, "permissions": permissions, "multi_value_headers": now}
    for state in ("present", "absent"):
        if state == "present" and not function:
            continue
        params = {"function_arn": function, "state": state, "multi_value_headers": headers}
        after = wanted(params, before)
        assert wanted(params, after) == after
        assert (function in after["targets"]) == (state == "present")
