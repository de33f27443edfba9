#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: efs_access_point_info
version_added: 1.0.0
short_description: Find EFS access points
description:
  - Lists access points of Amazon EFS, all of them or those that match every option given.
  - A file system or access point that does not exist has none, which is not an error.
author:
  - The multicompute.spin authors (@multicompute)
options:
  access_point_id:
    description: Only the access point with this ID.
    type: str
    aliases: [id]
  file_system_id:
    description: Only those of this file system.
    type: str
  name:
    description: Only those with this name, which is their C(Name) tag.
    type: str
  tags:
    description: Only those that have all these tags.
    type: dict
    default: {}
    aliases: [resource_tags]
attributes:
  check_mode:
    description: It only reads.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
  idempotent:
    description: It only reads.
    support: full
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
seealso:
  - module: multicompute.spin.efs_access_point
"""

EXAMPLES = r"""
- name: The access points of a file system
  multicompute.spin.efs_access_point_info:
    file_system_id: "{{ share.file_system.file_system_id }}"
  register: points

- name: The access points of a project, on any file system
  multicompute.spin.efs_access_point_info:
    tags:
      project: demo
"""

RETURN = r"""
access_points:
  description: The access points, sorted by file system and name.
  returned: success
  type: list
  elements: dict
  sample:
    - access_point_id: fsap-0123456789abcdef0
      access_point_arn: >-
        arn:aws:elasticfilesystem:eu-central-1:123456789012:access-point/fsap-0123456789abcdef0
      file_system_id: fs-0123456789abcdef0
      name: servers
      life_cycle_state: available
      posix_user: {uid: 1000, gid: 1000, secondary_gids: []}
      root_directory: {path: /app, owner_uid: 1000, owner_gid: 1000, permissions: "755"}
      tags: {Name: servers, project: demo}
"""

from typing import Any

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.multicompute.spin.plugins.module_utils._aws import Api
from ansible_collections.multicompute.spin.plugins.module_utils._efs import read_access_points


def matches(point: dict[str, Any], params: dict[str, Any]) -> bool:
    tags = {key: str(value) for key, value in params["tags"].items()}
    return tags.items() <= point["tags"].items() and params["name"] in (None, point["name"])


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "access_point_id": {"type": "str", "aliases": ["id"]},
            "file_system_id": {"type": "str"},
            "name": {"type": "str"},
            "tags": {"type": "dict", "default": {}, "aliases": ["resource_tags"]},
        },
        supports_check_mode=True,
    )
    points = read_access_points(
        Api(module, "efs"),
        access_point_id=module.params["access_point_id"],
        file_system_id=module.params["file_system_id"],
    )
    points = [point for point in points if matches(point, module.params)]
    points.sort(
        key=lambda point: (point["file_system_id"], point["name"] or "", point["access_point_id"])
    )
    module.exit_json(changed=False, access_points=points)


if __name__ == "__main__":
    main()
