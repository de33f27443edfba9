# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from typing import Any

from ansible_collections.multicompute.spin.plugins.modules import ecr_repository
from ansible_collections.multicompute.spin.tests.unit.plugins._stub import run_module

NAME = "demo/runtime"
MANIFEST = json.dumps({"schemaVersion": 2, "layers": []})


def push(cloud: Any) -> None:
    cloud("ecr").put_image(repositoryName=NAME, imageManifest=MANIFEST, imageTag="1.0.0")


def test_missing_parameter() -> None:
    assert "missing required arguments: name" in run_module(ecr_repository, {})["msg"]


def test_life(cloud: Any, converge: Any) -> None:
    args = {
        "name": NAME,
        "image_tag_mutability": "immutable",
        "scan_on_push": True,
        "keep_images": 3,
        "tags": {"project": "demo", "number": 1},
    }
    created = converge(ecr_repository, args)
    assert created["changed"] and created["diff"]["before"] == {}
    repository = created["repository"]
    assert repository["repository_name"] == NAME
    assert repository["repository_arn"].endswith(f":repository/{NAME}")
    assert repository["repository_uri"].endswith(f"/{NAME}")
    policy = cloud("ecr").get_lifecycle_policy(repositoryName=NAME)["lifecyclePolicyText"]
    assert json.loads(policy)["rules"][0]["selection"]["countNumber"] == 3

    updates: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"image_tag_mutability": "mutable"}, {"image_tag_mutability": "mutable"}),
        ({"scan_on_push": False}, {"scan_on_push": False}),
        ({"keep_images": 5}, {"keep_images": 5}),
        ({"keep_images": 0}, {"keep_images": 0}),
        (
            {"tags": {"more": "x"}, "purge_tags": False},
            {"tags": {"project": "demo", "number": "1", "more": "x"}},
        ),
        ({"tags": {"only": "this"}}, {"tags": {"only": "this"}}),
    ]
    for change, expected in updates:
        updated = converge(ecr_repository, {"name": NAME} | change)
        assert updated["changed"], change
        assert updated["repository"]["repository_arn"] == repository["repository_arn"]
        assert expected.items() <= updated["repository"].items()
    assert converge(ecr_repository, {"name": NAME})["changed"] is False

    assert converge(ecr_repository, {"name": NAME, "state": "absent"})["changed"]
    assert cloud("ecr").describe_repositories()["repositories"] == []
    assert not converge(ecr_repository, {"name": NAME, "state": "absent"})["changed"]


def test_a_repository_with_only_a_name(cloud: Any, converge: Any) -> None:
    repository = converge(ecr_repository, {"name": NAME})["repository"]
    assert repository["image_tag_mutability"] == "mutable"
    assert repository["scan_on_push"] is False
    assert repository["keep_images"] == 0
    assert repository["tags"] == {}


def test_images_are_deleted_with_force_only(cloud: Any, converge: Any) -> None:
    converge(ecr_repository, {"name": NAME})
    push(cloud)
    absent = {"name": NAME, "state": "absent"}
    for check in (True, False):
        assert "give force=true" in run_module(ecr_repository, absent, check=check)["msg"]
    assert converge(ecr_repository, absent | {"force": True})["changed"]


def test_a_change_from_outside_is_put_right(cloud: Any, converge: Any) -> None:
    args = {"name": NAME, "scan_on_push": True, "keep_images": 3, "tags": {"project": "demo"}}
    converge(ecr_repository, args)
    ecr = cloud("ecr")
    policy = {
        "rules": [
            {
                "rulePriority": 1,
                "selection": {
                    "tagStatus": "untagged",
                    "countType": "sinceImagePushed",
                    "countUnit": "days",
                    "countNumber": 3,
                },
                "action": {"type": "expire"},
            }
        ]
    }
    ecr.put_lifecycle_policy(repositoryName=NAME, lifecyclePolicyText=json.dumps(policy))
    ecr.put_image_scanning_configuration(
        repositoryName=NAME, imageScanningConfiguration={"scanOnPush": False}
    )
    assert converge(ecr_repository, {"name": NAME})["repository"]["keep_images"] is None
    corrected = converge(ecr_repository, args)
    assert corrected["diff"]["before"] == args | {"scan_on_push": False, "keep_images": None}
    assert corrected["diff"]["after"] == args
