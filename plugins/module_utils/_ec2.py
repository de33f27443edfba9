# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules of EC2 share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.amazon.aws.plugins.module_utils.tagging import (
    ansible_dict_to_boto3_tag_list,
    compare_aws_tags,
)
from ansible_collections.multicompute.spin.plugins.module_utils._aws import Api


def filters(**values: str | list[str] | None) -> list[dict[str, Any]]:
    """Filters by name and value or values, without those that are not set."""
    return [
        {"Name": name.replace("_", "-"), "Values": [value] if isinstance(value, str) else value}
        for name, value in values.items()
        if value
    ]


def tagged(kind: str, tags: Mapping[str, str]) -> dict[str, Any]:
    """What a creation is given, so that nothing exists for a moment without its tags."""
    if not tags:
        return {}
    tag_list = ansible_dict_to_boto3_tag_list(dict(tags))
    return {"TagSpecifications": [{"ResourceType": kind, "Tags": tag_list}]}


def set_tags(api: Api, resource_id: str, old: Mapping[str, str], tags: Mapping[str, str]) -> None:
    changed, removed = compare_aws_tags(dict(old), dict(tags))
    of: dict[str, Any] = {"Resources": [resource_id]}
    if removed:
        keys = [{"Key": key} for key in removed]
        api.call("delete_tags", f"remove tags of {resource_id}", Tags=keys, **of)
    if changed:
        tag_list = ansible_dict_to_boto3_tag_list(changed)
        api.call("create_tags", f"tag {resource_id}", Tags=tag_list, **of)
