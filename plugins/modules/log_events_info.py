#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: log_events_info
short_description: Read the last lines of a log group
version_added: 1.0.0
author:
  - The multicompute.spin authors (@multicompute)
description:
  - Reads the last events of all streams of a CloudWatch log group, oldest first.
  - A group that does not exist has none.
options:
  log_group:
    description: Name of the log group.
    type: str
    required: true
  seconds:
    description: How old an event may be.
    type: int
    default: 300
  lines:
    description: How many events, the last ones.
    type: int
    default: 20
attributes:
  check_mode:
    support: full
    description: Nothing is ever changed.
  diff_mode:
    support: none
    description: Nothing is ever changed.
  idempotent:
    support: full
    description: Nothing is ever changed.
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: See what a function logged in the last minute
  multicompute.spin.log_events_info:
    log_group: /demo/lambda
    seconds: 60
"""

RETURN = r"""
lines:
  description: The events' messages.
  returned: success
  type: list
  elements: str
  sample: ["serve: release 1.1.0 with wasmtime on 0.0.0.0:8000"]
"""

import time

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.multicompute.spin.plugins.module_utils._aws import Api


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "log_group": {"type": "str", "required": True},
            "seconds": {"type": "int", "default": 300},
            "lines": {"type": "int", "default": 20},
        },
        supports_check_mode=True,
    )
    params = module.params
    for option in ("seconds", "lines"):
        if params[option] < 1:
            module.fail_json(msg=f"{option} is {params[option]}: it has to be 1 or more.")
    events = Api(module, "logs").pages(
        "filter_log_events",
        "events",
        f"read the log group {params['log_group']}",
        missing=["ResourceNotFoundException"],
        logGroupName=params["log_group"],
        startTime=int((time.time() - params["seconds"]) * 1000),
    )
    events.sort(key=lambda event: event["timestamp"])
    lines = [event["message"].rstrip() for event in events[-params["lines"] :]]
    module.exit_json(changed=False, lines=lines)


if __name__ == "__main__":
    main()
