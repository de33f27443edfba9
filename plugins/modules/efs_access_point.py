#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: efs_access_point
version_added: 1.0.0
short_description: Manage an EFS access point
description:
  - Creates and deletes an access point of an Amazon EFS file system - one directory with the user
    and group that every client acts as, whoever it is on its own side.
  - An access point is found by its name, which is its C(Name) tag, on its file system.
  - EFS can change nothing of an access point but its tags. A run that would need to fails, unless
    O(recreate=true).
author:
  - The multicompute.spin authors (@multicompute)
options:
  name:
    description:
      - The name of the access point, unique on its file system.
      - One of O(name) and O(access_point_id) is required, and O(name) to create one.
    type: str
  access_point_id:
    description: The ID of an existing access point, for example V(fsap-0123456789abcdef0).
    type: str
    aliases: [id]
  file_system_id:
    description: The file system. Required with O(name).
    type: str
  state:
    description:
      - V(present) creates the access point, or brings its tags into the described form.
      - V(absent) deletes it. The directory and its files stay.
    type: str
    choices: [present, absent]
    default: present
  posix_user:
    description:
      - The user that every access through this access point is made as. Not set, clients act as
        the user that they are.
    type: dict
    suboptions:
      uid:
        description: User ID.
        type: int
        required: true
      gid:
        description: Group ID.
        type: int
        required: true
      secondary_gids:
        description: Further group IDs, at most 16, in any order.
        type: list
        elements: int
        default: []
  root_directory:
    description: The directory that clients see as the root. Not set, it is that of the file system.
    type: dict
    suboptions:
      path:
        description: Its path, at most four levels deep and 100 characters long.
        type: str
        default: /
      owner_uid:
        description:
          - User ID of the owner that EFS gives the directory when it creates it, at the first
            mount. Without owner and permissions it creates none, and mounts of a directory that
            is not there fail.
        type: int
      owner_gid:
        description: Group ID of that owner.
        type: int
      permissions:
        description: Octal mode of the directory, for example V("755"). Quote it.
        type: str
  recreate:
    description:
      - Whether to replace an access point whose O(posix_user) or O(root_directory) differs. The new
        one has a new ID, and what is mounted through the old one loses the share.
    type: bool
    default: false
  wait:
    description: Whether to wait until it is available, or gone.
    type: bool
    default: true
  wait_timeout:
    description: Longest time for each wait, in seconds.
    type: int
    default: 300
attributes:
  check_mode:
    description: Predicts exactly what a run would do, even when the file system is not there yet.
    support: full
  diff_mode:
    description: Shows the options that were given, before and after.
    support: full
  idempotent:
    description: A second run changes nothing. Order of groups and leading zeros play no role.
    support: full
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.tags
  - amazon.aws.boto3
seealso:
  - module: multicompute.spin.efs_access_point_info
  - module: multicompute.spin.efs_file_system
"""

EXAMPLES = r"""
- name: Everything below /app, as user 1000
  multicompute.spin.efs_access_point:
    name: servers
    file_system_id: "{{ share.file_system.file_system_id }}"
    posix_user:
      uid: 1000
      gid: 1000
    root_directory:
      path: /app
      owner_uid: 1000
      owner_gid: 1000
      permissions: "755"
    tags:
      project: demo
  register: servers

- name: The access point is gone, its files stay
  multicompute.spin.efs_access_point:
    name: servers
    file_system_id: "{{ share.file_system.file_system_id }}"
    state: absent
"""

RETURN = r"""
access_point:
  description:
    - The access point. In check mode a new one has placeholders for what AWS assigns.
  returned: O(state=present)
  type: dict
  contains:
    access_point_id:
      description: Its ID.
      type: str
      sample: fsap-0123456789abcdef0
    access_point_arn:
      description: Its ARN.
      type: str
      sample: >-
        arn:aws:elasticfilesystem:eu-central-1:123456789012:access-point/fsap-0123456789abcdef0
    file_system_id:
      description: Its file system.
      type: str
      sample: fs-0123456789abcdef0
    name:
      description: Its name.
      type: str
      sample: servers
    life_cycle_state:
      description: Its state.
      type: str
      sample: available
    posix_user:
      description: The user that clients act as, or null.
      type: dict
      sample: {uid: 1000, gid: 1000, secondary_gids: []}
    root_directory:
      description: The directory that clients see.
      type: dict
      sample: {path: /app, owner_uid: 1000, owner_gid: 1000, permissions: "755"}
    tags:
      description: Its tags.
      type: dict
      sample: {Name: servers, project: demo}
"""

import re
import uuid
from typing import Any, NoReturn

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.tagging import (
    ansible_dict_to_boto3_tag_list,
)
from ansible_collections.multicompute.spin.plugins.module_utils._aws import Api, finish
from ansible_collections.multicompute.spin.plugins.module_utils._efs import (
    PLACEHOLDER,
    described_access_point,
    read_access_points,
    set_tags,
    wanted_tags,
)

Options = dict[str, Any]

IMMUTABLE = ("posix_user", "root_directory")
OWNERSHIP = ("owner_uid", "owner_gid", "permissions")


# What the user wants, compared with what there is: pure functions.


def wanted(params: Options, current: Options) -> Options:
    """The given options in the form of `current`, and equal to it where they mean the same."""
    options: Options = {}
    if params["posix_user"] is not None:
        user = params["posix_user"]
        options["posix_user"] = user | {"secondary_gids": sorted(user["secondary_gids"])}
    if params["root_directory"] is not None:
        options["root_directory"] = wanted_root(
            params["root_directory"], current.get("root_directory", {})
        )
    if params["tags"] is not None or not current:
        options["tags"] = wanted_tags(params, current.get("tags", {}))
    return options


def wanted_root(root: Options, current: Options) -> Options:
    wanted = root | {"path": "/" + root["path"].strip("/")}
    mode, current_mode = root["permissions"], current.get("permissions")
    if mode is None:
        # They play a role once only, so who does not mention them is content with any.
        wanted |= {option: current.get(option) for option in OWNERSHIP}
    elif current_mode and int(mode, 8) == int(current_mode, 8):
        wanted["permissions"] = current_mode
    return wanted


def creation(options: Options) -> Options:
    """The request that creates it, which AWS describes like its answer."""
    request: Options = {
        "FileSystemId": options["file_system_id"],
        "Tags": ansible_dict_to_boto3_tag_list(options["tags"]),
    }
    if user := options.get("posix_user"):
        request["PosixUser"] = {
            "Uid": user["uid"],
            "Gid": user["gid"],
            "SecondaryGids": user["secondary_gids"],
        }
    if root := options.get("root_directory"):
        request["RootDirectory"] = {"Path": root["path"]}
        if root["permissions"]:
            request["RootDirectory"]["CreationInfo"] = {
                "OwnerUid": root["owner_uid"],
                "OwnerGid": root["owner_gid"],
                "Permissions": root["permissions"],
            }
    return request


# What there is, and what makes it so.


def find(api: Api, params: Options) -> Options:
    points = read_access_points(
        api, access_point_id=params["access_point_id"], file_system_id=params["file_system_id"]
    )
    if not params["access_point_id"]:
        points = [point for point in points if point["name"] == params["name"]]
    if len(points) > 1:
        api.module.fail_json(
            msg=f"{params['file_system_id']} has {len(points)} access points named "
            f"{params['name']}: say which by access_point_id, or delete all but one of "
            + ", ".join(sorted(point["access_point_id"] for point in points))
        )
    return points[0] if points else {}


def create(api: Api, request: Options) -> str:
    """Create it and return its ID."""
    token, file_system_id = str(uuid.uuid4()), request["FileSystemId"]
    doing = f"create an access point on {file_system_id}"
    answer = api.call(
        "create_access_point",
        doing,
        ClientToken=token,
        # An attempt whose answer was lost got through: it has this token.
        missing=["AccessPointAlreadyExists"],
        retry_on=["IncorrectFileSystemLifeCycleState"],
        **request,
    )
    if not answer:
        points = api.pages(
            "describe_access_points", "AccessPoints", doing, FileSystemId=file_system_id
        )
        answer = next(point for point in points if point["ClientToken"] == token)
    if api.module.params["wait"]:
        wait(api, "access_point_available", answer["AccessPointId"], "available")
    return answer["AccessPointId"]


def delete(api: Api, access_point_id: str, *, until_gone: bool) -> None:
    api.call(
        "delete_access_point",
        f"delete the access point {access_point_id}",
        missing=["AccessPointNotFound"],
        AccessPointId=access_point_id,
    )
    if until_gone:
        wait(api, "access_point_deleted", access_point_id, "gone")


def wait(api: Api, waiter: str, access_point_id: str, state: str) -> None:
    api.wait(
        waiter,
        f"see the access point {access_point_id} {state}",
        api.module.params["wait_timeout"],
        AccessPointId=access_point_id,
    )


# The two states.


def present(api: Api, params: Options) -> None:
    current = find(api, params)
    if not current and not params["name"]:
        api.module.fail_json(
            msg=f"There is no access point {params['access_point_id']} in region "
            f"{api.client.meta.region_name}: check the ID, or give name to create one."
        )
    options = wanted(params, current)
    before = {option: current[option] for option in options} if current else {}
    if before == options:
        if (
            current["life_cycle_state"] == "creating"
            and params["wait"]
            and not api.module.check_mode
        ):
            # Left so by a run that was interrupted.
            wait(api, "access_point_available", current["access_point_id"], "available")
            current["life_cycle_state"] = "available"
        finish(api.module, before, options, access_point=current)
    fixed = [
        option for option in before if option in IMMUTABLE and before[option] != options[option]
    ]
    if fixed and not params["recreate"]:
        refuse(api.module, current, options, fixed)
    request = creation({"file_system_id": params["file_system_id"]} | current | options)
    new = fixed or not current
    if api.module.check_mode:
        point = described_access_point(placeholder(api) | request) if new else current | options
        finish(api.module, before, options, access_point=point)
    if fixed:
        delete(api, current["access_point_id"], until_gone=True)
    if new:
        access_point_id = create(api, request)
    else:
        access_point_id = current["access_point_id"]
        set_tags(api, access_point_id, current["tags"], options["tags"])
    (point,) = read_access_points(api, access_point_id=access_point_id)
    finish(api.module, before, options, access_point=point)


def refuse(
    module: AnsibleAWSModule, current: Options, options: Options, fixed: list[str]
) -> NoReturn:
    changes = "; ".join(f"{name} is {current[name]}, not {options[name]}" for name in fixed)
    module.fail_json(
        msg=f"EFS cannot change the access point {current['access_point_id']}: {changes}. Keep "
        "the present value, create one with another name, or replace this one with "
        "recreate: true."
    )
    raise AssertionError  # the module has ended


def placeholder(api: Api) -> Options:
    access_point_id = f"fsap-{PLACEHOLDER}"
    return {
        "AccessPointId": access_point_id,
        "AccessPointArn": api.placeholder_arn(f"access-point/{access_point_id}"),
        "LifeCycleState": "available",
    }


def absent(api: Api, params: Options) -> None:
    current = find(api, params)
    if current and not api.module.check_mode:
        delete(api, current["access_point_id"], until_gone=params["wait"])
    finish(api.module, current, {})


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str"},
            "access_point_id": {"type": "str", "aliases": ["id"]},
            "file_system_id": {"type": "str"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "posix_user": {
                "type": "dict",
                "options": {
                    "uid": {"type": "int", "required": True},
                    "gid": {"type": "int", "required": True},
                    "secondary_gids": {"type": "list", "elements": "int", "default": []},
                },
            },
            "root_directory": {
                "type": "dict",
                "options": {
                    "path": {"type": "str", "default": "/"},
                    "owner_uid": {"type": "int"},
                    "owner_gid": {"type": "int"},
                    "permissions": {"type": "str"},
                },
                "required_together": [OWNERSHIP],
            },
            "recreate": {"type": "bool", "default": False},
            "tags": {"type": "dict", "aliases": ["resource_tags"]},
            "purge_tags": {"type": "bool", "default": True},
            "wait": {"type": "bool", "default": True},
            "wait_timeout": {"type": "int", "default": 300},
        },
        required_one_of=[("name", "access_point_id")],
        required_by={"name": ["file_system_id"]},
        supports_check_mode=True,
    )
    check_permissions(module)
    api = Api(module, "efs")
    {"present": present, "absent": absent}[module.params["state"]](api, module.params)


def check_permissions(module: AnsibleAWSModule) -> None:
    mode = (module.params["root_directory"] or {}).get("permissions") or "755"
    if not re.fullmatch("[0-7]{3,4}", mode):
        module.fail_json(
            msg=f"root_directory.permissions is {mode}, which is no octal mode of three or four "
            'digits. Write it quoted, like "755".'
        )


if __name__ == "__main__":
    main()
