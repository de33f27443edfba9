# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What MiniStack does not show: slow and failed states, idle functions, refusals that pass."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from ansible_collections.multicompute.spin.plugins.module_utils._functions import (
    CODE,
    CONCURRENCY,
    CONFIGURATION,
    described,
    differ,
    remaining,
    wanted,
)
from ansible_collections.multicompute.spin.plugins.modules import lambda_container
from ansible_collections.multicompute.spin.tests.unit.plugins._stub import (
    AwsError,
    FakeAws,
    run_module,
)
from hypothesis import given
from hypothesis import strategies as st

REPOSITORY = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/demo"
IMAGE = f"{REPOSITORY}@sha256:{1:064}"
ARN = "arn:aws:lambda:eu-central-1:123456789012:function:demo"
ARGS: dict[str, Any] = {
    "name": "demo",
    "image_uri": IMAGE,
    "role": "arn:aws:iam::123456789012:role/demo",
}
MISSING = AwsError("ResourceNotFoundException", "Function not found", 404)
CONFLICT = AwsError("ResourceConflictException", "An update is in progress", 409)
CONFIG: dict[str, Any] = {
    "FunctionName": "demo",
    "FunctionArn": ARN,
    "Role": ARGS["role"],
    "PackageType": "Image",
    "State": "Active",
    "LastUpdateStatus": "Successful",
    "Version": "$LATEST",
    "MemorySize": 128,
    "Timeout": 3,
    "Architectures": ["x86_64"],
    "EphemeralStorage": {"Size": 512},
    "LoggingConfig": {"LogFormat": "Text", "LogGroup": "/aws/lambda/demo"},
    "TracingConfig": {"Mode": "PassThrough"},
}


class Function:
    """One function with its versions and aliases, settled at once."""

    def __init__(self, aws: FakeAws, **config: Any) -> None:
        self.config = CONFIG | config
        self.image = IMAGE
        self.tags: dict[str, str] = {}
        self.versions: dict[str, tuple[dict[str, Any], str]] = {}
        self.aliases: dict[str, dict[str, Any]] = {}
        for operation, answer in (
            ("GetFunction", self.get),
            ("GetFunctionConfiguration", lambda params: self.get(params)["Configuration"]),
            ("UpdateFunctionConfiguration", self.update_configuration),
            ("UpdateFunctionCode", self.update_code),
            ("PublishVersion", self.publish),
            ("UpdateAlias", self.alias),
            ("CreateAlias", self.alias),
            ("GetAlias", self.get_alias),
        ):
            aws.on(f"lambda.{operation}", answer)

    def get(self, params: dict[str, Any]) -> Any:
        qualifier = params.get("Qualifier", "$LATEST")
        config, image = self.config, self.image
        if qualifier != "$LATEST":
            if qualifier not in self.versions:
                return MISSING
            config, image = self.versions[qualifier]
        code = {"ImageUri": image, "ResolvedImageUri": image}
        return {"Configuration": config, "Code": code, "Tags": self.tags}

    def update_configuration(self, params: dict[str, Any]) -> Any:
        changes = {key: value for key, value in params.items() if key != "FunctionName"}
        if "ImageConfig" in changes:
            changes["ImageConfigResponse"] = {"ImageConfig": changes.pop("ImageConfig")}
        self.config = self.config | changes | {"LastUpdateStatus": "Successful"}
        return self.config

    def update_code(self, params: dict[str, Any]) -> Any:
        self.image = params["ImageUri"]
        self.config = self.config | {"Architectures": params["Architectures"]}
        return self.config

    def publish(self, _params: dict[str, Any]) -> Any:
        version = str(len(self.versions) + 1)
        self.versions[version] = (self.config | {"Version": version}, self.image)
        return self.versions[version][0]

    def alias(self, params: dict[str, Any]) -> Any:
        self.aliases[params["Name"]] = {k: v for k, v in params.items() if k != "FunctionName"}
        return self.aliases[params["Name"]]

    def get_alias(self, params: dict[str, Any]) -> Any:
        return self.aliases.get(params["Name"], MISSING)


def published(aws: FakeAws, **config: Any) -> Function:
    function = Function(aws, **config)
    function.publish({})
    function.alias({"Name": "live", "FunctionVersion": "1"})
    return function


def test_the_request_to_create_names_only_what_was_given(aws: FakeAws) -> None:
    function = Function(aws)
    aws.on("lambda.CreateFunction", lambda _params: function.config)
    function.tags = {"b": "2"}
    aws.on("lambda.GetFunction", [MISSING, function.get])
    aws.on("lambda.UpdateAlias", MISSING)
    result = run_module(lambda_container, ARGS | {"environment": {"A": 1}, "tags": {"b": 2}})
    assert result["version"] == "1", result
    assert aws.params("CreateFunction") == [
        {
            "FunctionName": "demo",
            "PackageType": "Image",
            "Code": {"ImageUri": IMAGE},
            "Architectures": ["x86_64"],
            "Role": ARGS["role"],
            "Environment": {"Variables": {"A": "1"}},
            "Tags": {"b": "2"},
        }
    ]
    assert aws.params("CreateAlias") == [
        {
            "FunctionName": "demo",
            "Name": "live",
            "FunctionVersion": "1",
            "RoutingConfig": {"AdditionalVersionWeights": {}},
        }
    ]


def test_nothing_is_written_when_nothing_differs(aws: FakeAws) -> None:
    published(aws)
    assert not run_module(lambda_container, ARGS)["changed"]
    assert aws.writes() == []


@pytest.mark.parametrize(
    "message",
    [
        "The role defined for the function cannot be assumed by Lambda.",
        "The provided execution role does not have permissions to call CreateNetworkInterface",
        "EFS file system has mount targets created in all availability zones the function will "
        "execute in, but not all are in the available life cycle state yet.",
    ],
)
def test_what_aws_has_not_spread_yet_is_tried_again(aws: FakeAws, message: str) -> None:
    function = published(aws)
    refusal = AwsError("InvalidParameterValueException", message)
    aws.on("lambda.UpdateFunctionConfiguration", [refusal, refusal, function.update_configuration])
    assert run_module(lambda_container, ARGS | {"timeout": 9})["changed"]
    aws.on("lambda.GetFunction", [MISSING, function.get])
    aws.on("lambda.CreateFunction", [refusal, function.config])
    assert run_module(lambda_container, ARGS)["changed"]


def test_a_real_mistake_is_not_tried_again(aws: FakeAws) -> None:
    published(aws)
    mistake = AwsError("InvalidParameterValueException", "MemorySize is too large")
    aws.on("lambda.UpdateFunctionConfiguration", mistake)
    message = run_module(lambda_container, ARGS | {"memory_size": 9999})["msg"]
    assert message.startswith("Could not change the configuration of demo: ")
    assert "MemorySize is too large" in message
    assert len(aws.params("UpdateFunctionConfiguration")) == 1


def test_another_update_under_way_is_waited_for(aws: FakeAws) -> None:
    function = published(aws)
    busy = CONFIG | {"LastUpdateStatus": "InProgress"}
    aws.on("lambda.GetFunctionConfiguration", [busy, busy, CONFIG])
    aws.on("lambda.UpdateFunctionCode", [CONFLICT, function.update_code])
    changed = run_module(lambda_container, ARGS | {"image_uri": IMAGE[:-1] + "2"})
    assert changed["changed"] and changed["version"] == "2"


def test_the_alias_moves_only_when_the_version_can_be_called(aws: FakeAws) -> None:
    published(aws)
    pending = CONFIG | {"State": "Pending"}
    aws.on("lambda.GetFunctionConfiguration", [*[CONFIG] * 3, pending, pending, CONFIG])
    run_module(lambda_container, ARGS | {"timeout": 9})
    operations = [call.operation for call in aws.calls]
    after_publish = operations[operations.index("PublishVersion") + 1 :]
    assert after_publish[:4] == [*["GetFunctionConfiguration"] * 3, "UpdateAlias"]


def test_a_function_that_nobody_called_for_weeks_can_be_changed(aws: FakeAws) -> None:
    published(aws, State="Inactive")
    assert run_module(lambda_container, ARGS | {"timeout": 9})["changed"]


def test_a_failed_update_is_reported_with_its_reason_and_repaired_by_the_next_run(
    aws: FakeAws,
) -> None:
    function = published(aws)
    failed = {"LastUpdateStatus": "Failed", "LastUpdateStatusReason": "The image was deleted"}

    def fail(params: dict[str, Any]) -> Any:
        function.update_configuration(params)
        function.config |= failed
        return function.config

    aws.on("lambda.UpdateFunctionConfiguration", fail)
    args = ARGS | {"timeout": 9}
    message = run_module(lambda_container, args)["msg"]
    assert "Could not see version $LATEST of the function demo ready" in message
    assert "The image was deleted" in message

    aws.on("lambda.UpdateFunctionConfiguration", function.update_configuration)
    repaired = run_module(lambda_container, args)
    assert repaired["changed"] and repaired["version"] == "2"
    assert repaired["diff"]["before"]["status"] == "Failed"
    assert not run_module(lambda_container, args)["changed"]


def test_answers_lost_after_a_creation_make_nothing_twice(aws: FakeAws) -> None:
    function = Function(aws)
    lost = AwsError("ServiceException", "", 500)
    exists = AwsError("ResourceConflictException", "Function already exist: demo", 409)
    aws.on("lambda.GetFunction", [MISSING, function.get])
    aws.on("lambda.CreateFunction", [lost, exists])
    aws.on("lambda.UpdateAlias", MISSING)
    aws.on("lambda.CreateAlias", [lost, exists])
    assert run_module(lambda_container, ARGS)["version"] == "1"


def test_a_tag_is_compared_by_the_digest_that_it_has(aws: FakeAws) -> None:
    published(aws)
    detail = {"imageDetails": [{"imageDigest": f"sha256:{1:064}"}]}
    aws.on("ecr.DescribeImages", detail)
    tagged = ARGS | {"image_uri": f"{REPOSITORY}:1.0.0"}
    assert not run_module(lambda_container, tagged)["changed"]
    assert aws.params("DescribeImages") == [
        {
            "registryId": "123456789012",
            "repositoryName": "demo",
            "imageIds": [{"imageTag": "1.0.0"}],
        }
    ]
    detail["imageDetails"][0]["imageDigest"] = f"sha256:{2:064}"
    pushed_again = run_module(lambda_container, tagged)
    assert pushed_again["changed"]
    assert aws.params("UpdateFunctionCode")[0]["ImageUri"] == IMAGE[:-1] + "2"


def test_all_versions_and_aliases_are_looked_at(aws: FakeAws) -> None:
    function = published(aws)
    for _ in range(119):
        function.publish({})

    def versions(params: dict[str, Any]) -> Any:
        first = int(params.get("Marker", 1))
        page = [{"Version": str(number)} for number in range(first, min(first + 50, 121))]
        more = {"NextMarker": str(first + 50)} if first + 50 < 121 else {}
        return {"Versions": [{"Version": "$LATEST"}, *page]} | more

    canary = {"FunctionVersion": "7", "Name": "canary"}
    canary["RoutingConfig"] = {"AdditionalVersionWeights": {"5": 0.1}}
    pages = [{"Aliases": [canary], "NextMarker": "x"}, {"Aliases": []}]
    aws.on("lambda.ListAliases", pages)
    aws.on("lambda.ListVersionsByFunction", versions)
    aws.on("lambda.DeleteFunction", {})
    run_module(lambda_container, ARGS | {"keep": 2})
    deleted = {int(params["Qualifier"]) for params in aws.params("DeleteFunction")}
    assert deleted == set(range(1, 119)) - {1, 5, 7}


def test_deleting_twice_is_no_change(aws: FakeAws) -> None:
    aws.on("lambda.GetFunction", MISSING)
    assert not run_module(lambda_container, {"name": "demo", "state": "absent"})["changed"]


# Only content counts.

names = st.text("ab", min_size=1, max_size=3)
ids = st.lists(names, max_size=3, unique=True)


@given(
    subnets=ids,
    groups=ids,
    variables=st.dictionaries(names, st.integers() | st.booleans() | names, max_size=3),
    memory=st.integers(128, 10240),
    level=st.sampled_from(["INFO", "WARN", None]),
    random=st.randoms(),
)
def test_what_aws_makes_of_the_options_is_no_change(
    subnets: list[str],
    groups: list[str],
    variables: dict[str, Any],
    memory: int,
    level: str | None,
    random: Any,
) -> None:
    params: dict[str, Any] = dict.fromkeys((*CODE, *CONFIGURATION, *CONCURRENCY)) | {
        "memory_size": memory,
        "environment": variables,
        "vpc_config": {"subnet_ids": subnets, "security_group_ids": groups},
        "logging_config": {"log_format": "JSON", "application_log_level": level},
        "image_config": {"command": [], "entry_point": None, "working_directory": None},
        "file_system_configs": [],
    }
    filled = copy.deepcopy(params)
    random.shuffle(filled["vpc_config"]["subnet_ids"])
    logging = {"LogFormat": "JSON", "LogGroup": "/aws/lambda/demo", "SystemLogLevel": "INFO"}
    logging["ApplicationLogLevel"] = level or "INFO"
    current = described(
        {
            "Configuration": CONFIG
            | {
                "MemorySize": memory,
                "Environment": {
                    "Variables": {
                        key: str(value).lower() if isinstance(value, bool) else str(value)
                        for key, value in variables.items()
                    }
                },
                "VpcConfig": {
                    "SubnetIds": filled["vpc_config"]["subnet_ids"],
                    "SecurityGroupIds": groups,
                    "VpcId": "vpc-1",
                },
                "LoggingConfig": logging,
            }
        }
    )
    assert not differ(current, current | wanted(params, current))
    params["memory_size"] = memory + 1
    assert differ(current, current | wanted(params, current))


@given(st.sets(st.integers(1, 30)), st.sets(st.integers(1, 30)), st.integers(1, 9), st.booleans())
def test_versions_that_are_needed_stay(
    versions: set[int], pinned: set[int], keep: int, new: bool
) -> None:
    live = "new" if new or not versions else str(min(versions))
    stay = remaining([str(v) for v in versions], {str(v) for v in pinned}, live, keep)
    assert live in stay
    assert {str(v) for v in versions & pinned} <= set(stay)
    assert len(stay) >= min(keep, len(versions) + (live == "new"))
    assert len(stay) <= keep + len(pinned) + 1
    assert remaining([str(v) for v in versions], set(), live, None) == remaining(
        [str(v) for v in versions], set(), live, 99
    )
