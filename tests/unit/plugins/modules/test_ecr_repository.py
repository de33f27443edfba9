# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.multicompute.spin.plugins.modules import ecr_repository
from ansible_collections.multicompute.spin.tests.unit.plugins._stub import (
    AwsError,
    FakeAws,
    run_module,
)
from hypothesis import given
from hypothesis import strategies as st

ARN = "arn:aws:ecr:eu-central-1:123456789012:repository/demo"
REPOSITORY = {
    "repositoryName": "demo",
    "repositoryArn": ARN,
    "repositoryUri": "123456789012.dkr.ecr.eu-central-1.amazonaws.com/demo",
    "registryId": "123456789012",
    "imageTagMutability": "MUTABLE",
    "imageScanningConfiguration": {"scanOnPush": False},
}
NOT_FOUND = AwsError("RepositoryNotFoundException", "no such repository")
NO_POLICY = AwsError("LifecyclePolicyNotFoundException", "no policy")


@pytest.fixture
def ecr(aws: FakeAws) -> FakeAws:
    aws.on("ecr.DescribeRepositories", {"repositories": [REPOSITORY]})
    aws.on("ecr.GetLifecyclePolicy", NO_POLICY)
    aws.on("ecr.ListTagsForResource", {"tags": []})
    for operation in (
        "PutLifecyclePolicy",
        "DeleteLifecyclePolicy",
        "PutImageTagMutability",
        "PutImageScanningConfiguration",
        "TagResource",
        "UntagResource",
        "DeleteRepository",
    ):
        aws.on(f"ecr.{operation}", {})
    return aws


@given(st.integers(1, 10**6), st.integers(1, 999), st.text(), st.booleans())
def test_a_policy_that_keeps_n_images_is_read_as_n(
    count: int, priority: int, description: str, as_text: bool
) -> None:
    rule = ecr_repository.lifecycle_rule(count)
    rule |= {"rulePriority": priority, "description": description}
    rule["selection"]["countNumber"] = str(count) if as_text else count
    rule["selection"] = dict(reversed(rule["selection"].items()))
    assert ecr_repository.kept_images(json.dumps({"rules": [rule]})) == count


@pytest.mark.parametrize(
    "change",
    [
        {"selection": {"tagStatus": "untagged", "countType": "imageCountMoreThan"}},
        {"selection": {"tagStatus": "any", "countType": "sinceImagePushed", "countUnit": "days"}},
        {"action": {"type": "transition", "targetStorageClass": "archive"}},
    ],
)
def test_another_policy_is_no_number(change: dict[str, Any]) -> None:
    rule = ecr_repository.lifecycle_rule(3)
    rule["selection"] |= change.get("selection", {})
    rule["action"] = change.get("action", rule["action"])
    assert ecr_repository.kept_images(json.dumps({"rules": [rule]})) is None
    twice = [ecr_repository.lifecycle_rule(3), ecr_repository.lifecycle_rule(3)]
    assert ecr_repository.kept_images(json.dumps({"rules": twice})) is None


def test_one_call_creates_it_with_its_tags(ecr: FakeAws) -> None:
    tagged = REPOSITORY | {"imageTagMutability": "IMMUTABLE"}
    ecr.on("ecr.DescribeRepositories", [NOT_FOUND, {"repositories": [tagged]}])
    ecr.on("ecr.CreateRepository", {"repository": tagged})
    ecr.on("ecr.ListTagsForResource", {"tags": [{"Key": "number", "Value": "1"}]})
    args = {"name": "demo", "image_tag_mutability": "immutable", "tags": {"number": 1}}
    assert run_module(ecr_repository, args)["changed"]
    assert [call.operation for call in ecr.writes()] == ["CreateRepository"]
    assert ecr.params("CreateRepository") == [
        {
            "repositoryName": "demo",
            "imageTagMutability": "IMMUTABLE",
            "imageScanningConfiguration": {"scanOnPush": False},
            "tags": [{"Key": "number", "Value": "1"}],
        }
    ]


def test_a_creation_that_got_through_before_is_taken_over(ecr: FakeAws) -> None:
    ecr.on("ecr.DescribeRepositories", [NOT_FOUND, {"repositories": [REPOSITORY]}])
    ecr.on("ecr.CreateRepository", AwsError("RepositoryAlreadyExistsException", "exists"))
    result = run_module(ecr_repository, {"name": "demo", "tags": {"a": "b"}})
    assert result["changed"]
    assert [call.operation for call in ecr.writes()] == ["CreateRepository", "TagResource"]


def test_check_mode_asks_for_no_change_and_gives_placeholders(ecr: FakeAws) -> None:
    ecr.on("ecr.DescribeRepositories", NOT_FOUND)
    result = run_module(ecr_repository, {"name": "demo", "keep_images": 3}, check=True)
    assert result["changed"] and ecr.writes() == []
    assert result["repository"] == {
        "repository_name": "demo",
        "repository_arn": "arn:aws:ecr:eu-central-1:000000000000:repository/demo",
        "repository_uri": "000000000000.dkr.ecr.eu-central-1.amazonaws.com/demo",
        "registry_id": "000000000000",
        "image_tag_mutability": "mutable",
        "scan_on_push": False,
        "keep_images": 3,
        "tags": {},
    }


def test_only_what_differs_is_changed(ecr: FakeAws) -> None:
    run_module(ecr_repository, {"name": "demo", "scan_on_push": False, "keep_images": 2})
    assert [call.operation for call in ecr.writes()] == ["PutLifecyclePolicy"]


def test_tags_of_aws_itself_stay(ecr: FakeAws) -> None:
    tags = [{"Key": "aws:cloudformation:stack-name", "Value": "x"}, {"Key": "old", "Value": "y"}]
    ecr.on("ecr.ListTagsForResource", {"tags": tags})
    run_module(ecr_repository, {"name": "demo", "tags": {"new": "z"}})
    assert ecr.params("UntagResource") == [{"resourceArn": ARN, "tagKeys": ["old"]}]
    assert ecr.params("TagResource")[0]["tags"] == [{"Key": "new", "Value": "z"}]


def test_a_deletion_that_someone_else_was_faster_with_is_done(ecr: FakeAws) -> None:
    ecr.on("ecr.DeleteRepository", NOT_FOUND)
    args = {"name": "demo", "state": "absent", "force": True}
    assert run_module(ecr_repository, args)["changed"]


def test_bad_input_and_refusals_say_what_to_do(ecr: FakeAws) -> None:
    assert "0 or more" in run_module(ecr_repository, {"name": "demo", "keep_images": -1})["msg"]
    ecr.on("ecr.PutLifecyclePolicy", AwsError("AccessDeniedException", "not you", 403))
    message = run_module(ecr_repository, {"name": "demo", "keep_images": 2})["msg"]
    assert "Could not set the lifecycle policy of the repository demo" in message
    assert "allow ecr:PutLifecyclePolicy" in message and "AccessDeniedException" in message
