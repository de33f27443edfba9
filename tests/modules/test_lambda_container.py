# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The function's life at the API; that it runs is shown where there are containers."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from ansible_collections.multicompute.spin.plugins.modules import lambda_container
from ansible_collections.multicompute.spin.tests.unit.plugins._stub import run_module

REPOSITORY = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/demo"
ROLE = "arn:aws:iam::123456789012:role/demo"
POINT = "arn:aws:elasticfilesystem:eu-central-1:123456789012:access-point/fsap-0123456789abcdef0"


def image(number: int) -> str:
    return f"{REPOSITORY}@sha256:{number:064}"


ARGS: dict[str, Any] = {
    "name": "demo",
    "image_uri": image(1),
    "role": ROLE,
    "memory_size": 256,
    "timeout": 30,
    "environment": {"A": 1, "B": True},
    "vpc_config": {"subnet_ids": ["subnet-2", "subnet-1"], "security_group_ids": ["sg-2", "sg-1"]},
    "file_system_configs": [{"arn": POINT, "local_mount_path": "/mnt/app"}],
    "logging_config": {"log_group": "/demo"},
    "tags": {"project": "demo"},
}


def changed(**options: Any) -> dict[str, Any]:
    return copy.deepcopy(ARGS) | options


def test_missing_parameters(cloud: Any) -> None:
    assert "name" in run_module(lambda_container, {})["msg"]
    assert "image_uri" in run_module(lambda_container, {"name": "demo"})["msg"]
    for check in (True, False):
        without_role = {"name": "demo", "image_uri": image(1)}
        refused = run_module(lambda_container, without_role, check=check)
        assert refused["msg"] == "role is needed to create the function demo."
        nested = changed(environment={"A": {"B": 1}})
        assert "not valid" in run_module(lambda_container, nested, check=check)["msg"]


def test_life(cloud: Any, converge: Any) -> None:
    client = cloud("lambda")
    created = converge(lambda_container, ARGS)
    assert created["version"] == "1"
    assert created["alias_arn"] == created["function_arn"] + ":live"
    assert created["function"]["environment"] == {"A": "1", "B": "true"}
    assert created["function"]["tags"] == {"project": "demo"}
    assert client.get_alias(FunctionName="demo", Name="live")["FunctionVersion"] == "1"

    same = [
        changed(memory_size="256", timeout="30", environment={"B": "true", "A": "1"}),
        changed(
            vpc_config={
                "subnet_ids": ["subnet-1", "subnet-2"],
                "security_group_ids": ["sg-1", "sg-2"],
            }
        ),
        changed(architecture="x86_64", ephemeral_storage=512, image_config={}),
        changed(image_uri=image(1).replace("demo@", "demo:latest@")),
        {"name": "demo", "image_uri": image(1)},
    ]
    for args in same:
        result = converge(lambda_container, args)
        assert result["changed"] is False and result["version"] == "1"

    updates: list[dict[str, Any]] = [
        {"image_uri": image(2)},
        {"architecture": "arm64"},
        {"memory_size": 512},
        {"timeout": 60},
        {"ephemeral_storage": 1024},
        {"environment": {}},
        {"description": "a demo"},
        {"role": ROLE + "2"},
        {"file_system_configs": []},
        {"vpc_config": {"subnet_ids": [], "security_group_ids": []}},
        {"image_config": {"command": ["a", "b"]}},
        {"image_config": {}},
        {"logging_config": {"log_format": "JSON", "application_log_level": "WARN"}},
        {"logging_config": {"log_format": "Text"}},
        {"tracing_mode": "Active"},
        {"kms_key_arn": "arn:aws:kms:eu-central-1:123456789012:key/1"},
        {"kms_key_arn": ""},
    ]
    args = {"name": "demo", "image_uri": image(1)}
    for version, update in enumerate(updates, start=2):
        args |= {"image_uri": update.get("image_uri", args["image_uri"])}
        result = converge(lambda_container, args | update)
        assert result["changed"] and result["version"] == str(version), update
        (option,) = update
        if option != "logging_config":
            assert result["function"][option] == update[option]
    assert result["function"]["logging_config"] == {"log_format": "Text", "log_group": "/demo"}
    assert result["function"]["tracing_mode"] == "Active"

    tagged = converge(lambda_container, args | {"tags": {"project": "other"}})
    assert tagged["changed"] and tagged["version"] == result["version"]
    assert tagged["function"]["tags"] == {"project": "other"}

    converge(lambda_container, {"name": "demo", "state": "absent"})
    assert client.list_functions()["Functions"] == []


@pytest.mark.parametrize("keep", [1, 3])
def test_old_versions_go_unless_an_alias_needs_them(cloud: Any, converge: Any, keep: int) -> None:
    client = cloud("lambda")
    for number in range(1, 4):
        converge(lambda_container, changed(image_uri=image(number)))
    client.create_alias(FunctionName="demo", Name="stable", FunctionVersion="1")

    def versions() -> list[str]:
        found = client.list_versions_by_function(FunctionName="demo")["Versions"]
        return [each["Version"] for each in found if each["Version"] != "$LATEST"]

    converge(lambda_container, changed(image_uri=image(4), keep=keep))
    assert versions() == {1: ["1", "4"], 3: ["1", "2", "3", "4"]}[keep]
    converge(lambda_container, changed(image_uri=image(4), keep=1))
    assert versions() == ["1", "4"]
    assert "keep" in run_module(lambda_container, changed(keep=0))["msg"]


def test_a_run_that_was_interrupted_before_the_alias_moved_is_completed(
    cloud: Any, converge: Any
) -> None:
    converge(lambda_container, ARGS)
    client = cloud("lambda")
    client.update_function_code(FunctionName="demo", ImageUri=image(2))
    completed = converge(lambda_container, changed(image_uri=image(2)))
    assert completed["changed"] and completed["version"] == "2"
    client.delete_alias(FunctionName="demo", Name="live")
    again = converge(lambda_container, changed(image_uri=image(2)))
    assert again["changed"]
    assert client.get_alias(FunctionName="demo", Name="live")["FunctionVersion"] == "2"


def test_a_change_from_outside_is_put_right(cloud: Any, converge: Any) -> None:
    converge(lambda_container, ARGS)
    cloud("lambda").update_function_configuration(FunctionName="demo", MemorySize=1024)
    assert converge(lambda_container, ARGS)["function"]["memory_size"] == 256


def test_a_function_of_another_kind_is_refused(cloud: Any) -> None:
    cloud("lambda").create_function(
        FunctionName="demo",
        Runtime="python3.12",
        Handler="index.handler",
        Role=ROLE,
        Code={"ZipFile": b"PK\x05\x06" + b"\0" * 18},
    )
    for check in (True, False):
        assert "runs a zip archive" in run_module(lambda_container, ARGS, check=check)["msg"]


def test_check_mode_with_parents_that_do_not_exist_yet(cloud: Any) -> None:
    predicted = run_module(lambda_container, changed(image_uri=f"{REPOSITORY}:1.0.0"), check=True)
    assert predicted["changed"] and predicted["version"] == "new"
    assert predicted["function_arn"] == ("arn:aws:lambda:eu-central-1:000000000000:function:demo")
    assert predicted["alias_arn"].endswith(":function:demo:live")
    missing = run_module(lambda_container, changed(image_uri=f"{REPOSITORY}:1.0.0"))
    assert missing["msg"].startswith("Could not look up the digest of demo:1.0.0 (check the name")


def test_a_new_version_gets_a_share_of_the_calls_first(cloud: Any, converge: Any) -> None:
    def run(number: int, **options: Any) -> Any:
        result = converge(lambda_container, changed(image_uri=image(number), **options))
        versions = {each["version"]: each["weight"] for each in result["alias_versions"]}
        return result["changed"], result["version"], versions

    assert run(1, alias_weight=10) == (True, "1", {"1": 100}), "nothing to share with"
    assert run(2, alias_weight=10) == (True, "2", {"1": 90, "2": 10})
    assert run(2, alias_weight=50) == (True, "2", {"1": 50, "2": 50})
    # Another one takes the place of the canary; what it is compared with stays.
    assert run(3, alias_weight=10, keep=1) == (True, "3", {"1": 90, "3": 10})
    found = cloud("lambda").list_versions_by_function(FunctionName="demo")["Versions"]
    assert [each["Version"] for each in found] == ["$LATEST", "1", "3"]
    assert run(3) == (True, "3", {"3": 100})
    alias = cloud("lambda").get_alias(FunctionName="demo", Name="live")
    assert alias["FunctionVersion"] == "3" and not alias.get("RoutingConfig")


def test_concurrency(cloud: Any, converge: Any) -> None:
    client = cloud("lambda")
    converge(lambda_container, changed(reserved_concurrent_executions=0))
    for reserved, provisioned in ((20, 2), (20, 3), (-1, 0)):
        result = converge(
            lambda_container,
            changed(
                reserved_concurrent_executions=reserved,
                provisioned_concurrent_executions=provisioned,
            ),
        )
        assert result["changed"] and result["version"] == "1"
        assert result["function"]["provisioned_concurrent_executions"] == provisioned
        answer = client.get_function_concurrency(FunctionName="demo")
        assert answer.get("ReservedConcurrentExecutions", -1) == reserved
    # What the task does not mention stays.
    client.put_function_concurrency(FunctionName="demo", ReservedConcurrentExecutions=5)
    kept = converge(lambda_container, ARGS)
    assert not kept["changed"] and kept["function"]["reserved_concurrent_executions"] == 5


def test_what_aws_would_refuse_is_refused_before_anything_is_changed(cloud: Any) -> None:
    for option, value, message in (
        ("snap_start", "PublishedVersions", "no SnapStart for functions that run a container"),
        ("memory_size", 64, "memory_size is 64: it has to be from 128 to 10240."),
        ("alias_weight", 0, "alias_weight is 0: it has to be from 1 to 100."),
    ):
        for check in (True, False):
            refused = run_module(lambda_container, changed(**{option: value}), check=check)
            assert message in refused["msg"]
    assert cloud("lambda").list_functions()["Functions"] == []
