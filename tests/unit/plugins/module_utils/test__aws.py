# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.multicompute.spin.plugins.module_utils._aws import Api, finish
from ansible_collections.multicompute.spin.tests.unit.plugins._stub import (
    CREDENTIALS,
    AwsError,
    FakeAws,
    run_module,
)

MOUNT_TARGET = {
    "MountTargetId": "fsmt-0123456789abcdef0",
    "FileSystemId": "fs-0123456789abcdef0",
    "SubnetId": "subnet-0123456789abcdef0",
    "LifeCycleState": "available",
}


def module_doing(action: Any) -> Any:
    def main() -> None:
        module = AnsibleAWSModule(argument_spec={}, supports_check_mode=True)
        action(module)

    return SimpleNamespace(main=main)


def read(module: AnsibleAWSModule) -> None:
    found = Api(module, "efs").call(
        "describe_file_systems", "look for demo", missing=["FileSystemNotFound"], CreationToken="x"
    )
    finish(module, {}, {}, found=found)


def test_a_missing_resource_is_an_empty_answer(aws: FakeAws) -> None:
    aws.on("efs.DescribeFileSystems", AwsError("FileSystemNotFound", "gone", 404))
    assert run_module(module_doing(read), {})["found"] == {}


@pytest.mark.parametrize(
    "error",
    [
        AwsError("ThrottlingException"),
        AwsError("SlowDown", status=429),
        AwsError("InternalServerError", status=500),
    ],
)
def test_transient_errors_are_retried(aws: FakeAws, error: AwsError) -> None:
    aws.on("efs.DescribeFileSystems", [error, error, {"FileSystems": []}])
    assert run_module(module_doing(read), {})["found"] == {"FileSystems": []}
    assert len(aws.calls) == 3


def test_retries_are_bounded(aws: FakeAws) -> None:
    aws.on("efs.DescribeFileSystems", AwsError("ThrottlingException", "Rate exceeded"))
    result = run_module(module_doing(read), {})
    assert len(aws.calls) == 12
    assert "Could not look for demo (the account's request rate is used up" in result["msg"]
    assert "ThrottlingException" in result["msg"]


def test_a_refusal_names_the_action_to_allow_and_is_not_retried(aws: FakeAws) -> None:
    aws.on("efs.DescribeFileSystems", AwsError("AccessDeniedException", "no", 403))
    result = run_module(module_doing(read), {})
    assert "allow elasticfilesystem:DescribeFileSystems" in result["msg"]
    assert "AccessDeniedException" in result["msg"]
    assert result["error"]["code"] == "AccessDeniedException"
    assert len(aws.calls) == 1


def test_a_module_can_say_what_to_do_about_an_error(aws: FakeAws) -> None:
    def delete(module: AnsibleAWSModule) -> None:
        Api(module, "efs").call(
            "delete_file_system",
            "delete fs-1",
            advice={"FileSystemInUse": "delete its mount targets"},
            FileSystemId="fs-1",
        )

    aws.on("efs.DeleteFileSystem", AwsError("FileSystemInUse", "in use", 409))
    result = run_module(module_doing(delete), {})
    assert "Could not delete fs-1 (delete its mount targets): " in result["msg"]


def test_a_message_can_be_retried_where_the_code_says_too_little(aws: FakeAws) -> None:
    def update(module: AnsibleAWSModule) -> None:
        Api(module, "lambda").call(
            "get_function",
            "read demo",
            retry_on=["InvalidParameterValueException: The role"],
            FunctionName="demo",
        )
        finish(module, {}, {})

    refused = AwsError("InvalidParameterValueException", "The role cannot be assumed")
    aws.on("lambda.GetFunction", [refused, {}])
    assert "failed" not in run_module(module_doing(update), {})
    aws.on("lambda.GetFunction", AwsError("InvalidParameterValueException", "The handler is bad"))
    assert run_module(module_doing(update), {})["failed"]
    assert len(aws.calls) == 3


@pytest.mark.parametrize(("seconds", "attempts"), [(0, 1), (1, 2), (300, 20)])
def test_retries_can_last_as_long_as_the_user_says(
    aws: FakeAws, monkeypatch: pytest.MonkeyPatch, seconds: int, attempts: int
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)

    def delete(module: AnsibleAWSModule) -> None:
        Api(module, "efs").call(
            "delete_file_system",
            "delete fs-1",
            retry_on=["FileSystemInUse"],
            retry_for=seconds,
            FileSystemId="fs-1",
        )

    aws.on("efs.DeleteFileSystem", AwsError("FileSystemInUse", "in use", 409))
    assert "FileSystemInUse" in run_module(module_doing(delete), {})["msg"]
    assert len(aws.calls) >= attempts and len(pauses) == len(aws.calls) - 1
    assert sum(pauses) == pytest.approx(seconds)


def test_every_page_is_read(aws: FakeAws) -> None:
    def page(params: dict[str, Any]) -> dict[str, Any]:
        number = int(params.get("NextToken", 0))
        points = [{"AccessPointId": f"fsap-{number}"}]
        return {"AccessPoints": points} | ({"NextToken": str(number + 1)} if number < 249 else {})

    def count(module: AnsibleAWSModule) -> None:
        points = Api(module, "efs").pages("describe_access_points", "AccessPoints", "list them")
        finish(module, {}, {}, count=len(points))

    aws.on("efs.DescribeAccessPoints", page)
    assert run_module(module_doing(count), {})["count"] == 250


def test_a_wait_that_takes_too_long_says_for_what(aws: FakeAws) -> None:
    def wait(module: AnsibleAWSModule) -> None:
        Api(module, "efs").wait(
            "mount_targets_available",
            "see fs-1 mountable",
            10,
            explain=lambda answer: answer["MountTargets"][0]["LifeCycleState"],
            FileSystemId="fs-1",
        )

    aws.on(
        "efs.DescribeMountTargets",
        {"MountTargets": [MOUNT_TARGET | {"LifeCycleState": "creating"}]},
    )
    result = run_module(module_doing(wait), {})
    assert "Could not see fs-1 mountable within 10 s (creating): " in result["msg"]


def wait_for_mount_targets(module: AnsibleAWSModule) -> None:
    def explain(answer: dict[str, Any]) -> str:
        return answer["MountTargets"][0]["LifeCycleState"]

    api = Api(module, "efs")
    api.wait("mount_targets_available", "see it", 10, explain=explain, FileSystemId="fs-1")
    finish(module, {}, {})


@pytest.mark.parametrize(
    "error", [AwsError("ThrottlingException"), AwsError("InternalServerError", status=500)]
)
def test_a_wait_goes_on_after_a_transient_error(aws: FakeAws, error: AwsError) -> None:
    aws.on("efs.DescribeMountTargets", [error, error, {"MountTargets": [MOUNT_TARGET]}])
    result = run_module(module_doing(wait_for_mount_targets), {})
    assert not result.get("failed"), result["msg"]
    assert len(aws.calls) == 3


def test_a_long_wait_is_throttled_often(aws: FakeAws) -> None:
    creating = {"MountTargets": [MOUNT_TARGET | {"LifeCycleState": "creating"}]}
    throttled = AwsError("ThrottlingException")
    answers: list[Any] = [throttled, creating] * 15 + [{"MountTargets": [MOUNT_TARGET]}]
    aws.on("efs.DescribeMountTargets", answers)
    result = run_module(module_doing(wait_for_mount_targets), {})
    assert not result.get("failed"), result["msg"]


def test_errors_do_not_lengthen_a_wait(aws: FakeAws) -> None:
    creating = {"MountTargets": [MOUNT_TARGET | {"LifeCycleState": "creating"}]}
    aws.on("efs.DescribeMountTargets", [*([creating] * 15), AwsError("Throttling"), creating])
    result = run_module(module_doing(wait_for_mount_targets), {})
    assert "Could not see it within 10 s (creating): " in result["msg"]
    assert len(aws.calls) == 22


def test_a_wait_that_is_refused_says_what_to_do(aws: FakeAws) -> None:
    aws.on("efs.DescribeMountTargets", AwsError("AccessDeniedException", "no", 403))
    result = run_module(module_doing(wait_for_mount_targets), {})
    assert "Could not see it (allow elasticfilesystem:DescribeMountTargets" in result["msg"]
    assert len(aws.calls) == 1


def test_changed_is_what_the_diff_shows(aws: FakeAws) -> None:
    result = run_module(module_doing(lambda module: finish(module, {"a": 1}, {"a": 2})), {})
    assert result["changed"]
    assert result["diff"] == {"before": {"a": 1}, "after": {"a": 2}}


def test_requests_are_validated_by_botocore(aws: FakeAws) -> None:
    def wrong(module: AnsibleAWSModule) -> None:
        Api(module, "efs").call("create_file_system", "create it", Sticky=True)

    result = run_module(module_doing(wrong), {})
    assert 'Unknown parameter in input: "Sticky"' in result["msg"]


def test_an_unreachable_endpoint_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    result = run_module(module_doing(read), {"endpoint_url": "http://127.0.0.1:9"})
    assert "check region eu-central-1 and endpoint http://127.0.0.1:9" in result["msg"]
