# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import copy
from typing import Any

import pytest
from ansible_collections.multicompute.spin.plugins.modules import ecs_task_definition
from ansible_collections.multicompute.spin.tests.unit.plugins._stub import run_module

ROLE = "arn:aws:iam::123456789012:role/demo"
ARGS: dict[str, Any] = {
    "family": "demo",
    "requires_compatibilities": ["FARGATE"],
    "network_mode": "awsvpc",
    "cpu": 256,
    "memory": 512,
    "volumes": [
        {"name": "tmp"},
        {
            "name": "share",
            "efs_volume_configuration": {
                "file_system_id": "fs-0123456789abcdef0",
                "transit_encryption": "ENABLED",
                "authorization_config": {
                    "access_point_id": "fsap-0123456789abcdef0",
                    "iam": "ENABLED",
                },
            },
        },
    ],
    "container_definitions": [
        {
            "name": "app",
            "image": "demo:1",
            "readonly_root_filesystem": True,
            "port_mappings": [{"container_port": 8000}],
            "environment": {"B": "2", "A": 1},
            "mount_points": [
                {"source_volume": "share", "container_path": "/mnt/app", "read_only": True},
                {"source_volume": "tmp", "container_path": "/tmp"},
            ],
            "linux_parameters": {"capabilities": {"drop": ["ALL"]}},
            "log_configuration": {
                "log_driver": "awslogs",
                "options": {"awslogs-group": "/demo", "awslogs-create-group": True},
            },
        }
    ],
    "tags": {"project": "demo"},
}


def changed(**options: Any) -> dict[str, Any]:
    return copy.deepcopy(ARGS) | options


def container(**fields: Any) -> dict[str, Any]:
    return changed(container_definitions=[ARGS["container_definitions"][0] | fields])


def active(cloud: Any) -> list[int]:
    arns = cloud("ecs").list_task_definitions(familyPrefix="demo", sort="DESC")
    return [int(arn.rsplit(":", 1)[-1]) for arn in arns["taskDefinitionArns"]]


def test_missing_and_misspelt_options(cloud: Any) -> None:
    assert "family" in run_module(ecs_task_definition, {})["msg"]
    missing = run_module(ecs_task_definition, {"family": "demo"})
    assert "container_definitions" in missing["msg"]
    for check in (True, False):
        wrong = run_module(ecs_task_definition, container(port_mapping=[]), check=check)
        assert (
            "container_definitions[0].port_mapping does not exist, did you mean port_mappings?"
            in wrong["msg"]
        )
        wrong = run_module(ecs_task_definition, container(cpu="many"), check=check)
        assert "container_definitions[0].cpu has to be of type integer, not 'many'" in wrong["msg"]
        wrong = run_module(
            ecs_task_definition, container(ulimits=[{"name": "nofile"}]), check=check
        )
        assert "softLimit" in wrong["msg"]
    assert active(cloud) == []


def test_life(cloud: Any, converge: Any) -> None:
    first = converge(ecs_task_definition, ARGS)["task_definition"]
    assert first["family_revision"] == "demo:1"
    assert first["task_definition_arn"].endswith(":task-definition/demo:1")
    assert first["tags"] == {"project": "demo"}
    assert first["cpu"] == "256"

    # The same in other words.
    same = [
        changed(cpu="0.25 vCPU", memory="0.5 GB"),
        changed(volumes=list(reversed(ARGS["volumes"]))),
        changed(runtime_platform={"cpu_architecture": "X86_64"}),
        container(
            environment=[{"name": "B", "value": 2}, {"name": "A", "value": "1"}],
            essential=True,
            cpu="0",
            portMappings=[{"containerPort": "8000", "hostPort": 8000, "protocol": "tcp"}],
            command=[],
            privileged=False,
        )
        | {"tags": {}, "purge_tags": False},
    ]
    for args in same:
        result = converge(ecs_task_definition, args)
        assert result["changed"] is False, result["diff"]

    updates = [
        changed(cpu=512, memory=1024),
        changed(runtime_platform={"cpu_architecture": "ARM64"}),
        changed(task_role_arn=ROLE),
        changed(execution_role_arn=ROLE),
        changed(volumes=ARGS["volumes"][1:]),
        container(image="demo:2"),
        container(environment={"A": "1"}),
        container(essential=False),
        container(command=["a", "b"]),
        container(command=["b", "a"]),
    ]
    for revision, args in enumerate(updates, start=2):
        result = converge(ecs_task_definition, args)
        assert result["changed"], args
        assert result["task_definition"]["family_revision"] == f"demo:{revision}"
    assert len(active(cloud)) == 11

    tagged = converge(ecs_task_definition, updates[-1] | {"tags": {"project": "x"}})
    assert tagged["task_definition"]["revision"] == 11
    assert tagged["task_definition"]["tags"] == {"project": "x"}

    # A new revision keeps tags that the task does not mention.
    kept = converge(ecs_task_definition, container(image="demo:3") | {"tags": None})
    assert kept["task_definition"]["tags"] == {"project": "x"}

    converge(ecs_task_definition, {"family": "demo", "state": "absent"})
    assert active(cloud) == []


@pytest.mark.parametrize("keep", [1, 3])
def test_old_revisions_go(cloud: Any, converge: Any, keep: int) -> None:
    for image in range(4):
        converge(ecs_task_definition, container(image=f"demo:{image}"))
    converge(ecs_task_definition, container(image="demo:3") | {"keep": keep})
    assert active(cloud) == [4, 3, 2, 1][:keep]
    converge(ecs_task_definition, container(image="demo:4") | {"keep": keep})
    assert active(cloud) == [5, 4, 3, 2, 1][:keep]
    refused = run_module(ecs_task_definition, changed(keep=0))
    assert "keep" in refused["msg"]


def test_deregistered_revisions_can_stay(cloud: Any, converge: Any) -> None:
    converge(ecs_task_definition, ARGS)
    gone = {"family": "demo", "state": "absent"}
    assert converge(ecs_task_definition, gone | {"delete": False})["changed"]
    inactive = {"familyPrefix": "demo", "status": "INACTIVE"}
    assert len(cloud("ecs").list_task_definitions(**inactive)["taskDefinitionArns"]) == 1
    assert converge(ecs_task_definition, gone)["changed"]
    assert cloud("ecs").list_task_definitions(**inactive)["taskDefinitionArns"] == []


def test_a_run_that_was_interrupted_before_it_deleted_is_completed(
    cloud: Any, converge: Any
) -> None:
    converge(ecs_task_definition, ARGS)
    converge(ecs_task_definition, container(image="demo:2"))
    cloud("ecs").deregister_task_definition(taskDefinition="demo:1")
    kept = container(image="demo:2") | {"keep": 1}
    assert not converge(ecs_task_definition, kept | {"delete": False})["changed"]
    assert converge(ecs_task_definition, kept)["changed"]
    inactive = {"familyPrefix": "demo", "status": "INACTIVE"}
    assert cloud("ecs").list_task_definitions(**inactive)["taskDefinitionArns"] == []


def test_a_family_is_not_mistaken_for_one_that_starts_alike(cloud: Any, converge: Any) -> None:
    converge(ecs_task_definition, changed(family="demo-other"))
    created = converge(ecs_task_definition, ARGS)
    assert created["changed"]
    converge(ecs_task_definition, {"family": "demo", "state": "absent"})
    assert len(active(cloud)) == 1


def test_a_change_from_outside_is_undone_by_a_new_revision(cloud: Any, converge: Any) -> None:
    converge(ecs_task_definition, ARGS)
    cloud("ecs").register_task_definition(
        family="demo", containerDefinitions=[{"name": "app", "image": "other"}]
    )
    assert converge(ecs_task_definition, ARGS)["task_definition"]["revision"] == 3


def test_check_mode_with_parents_that_do_not_exist_yet(cloud: Any) -> None:
    predicted = run_module(ecs_task_definition, ARGS, check=True)
    assert predicted["task_definition"]["family_revision"] == "demo:1"
    assert predicted["task_definition"]["task_definition_arn"].endswith("task-definition/demo:1")
