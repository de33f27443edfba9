#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: elb_metrics_info
short_description: Tell how a load balancer's target groups answered of late
version_added: 1.0.0
author:
  - The multicompute.spin authors (@multicompute)
description:
  - Reads requests, failures and response times of an Application Load Balancer and its target
    groups from CloudWatch, all of them in one go. So it takes any app as it is.
  - AWS tells what happened a minute or two ago, and by whole minutes.
options:
  load_balancer_name:
    description: The load balancer.
    type: str
    required: true
  target_groups:
    description:
      - Names of target groups. All that the load balancer forwards to, if it is not set.
      - What is not there, such as a target group before the first deployment, had no requests.
    type: list
    elements: str
  seconds:
    description: How far to look back.
    type: int
    default: 300
  since:
    description:
      - From when on, in seconds since 1970, instead of O(seconds). Two calls with the same moment
        can be told from each other - what came between them is the difference.
    type: float
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
seealso:
  - module: multicompute.spin.elb_watch_info
  - module: multicompute.spin.endpoint_probe_info
  - module: multicompute.spin.elb_weighted_listener
"""

EXAMPLES = r"""
- name: See that the canary fails nobody
  multicompute.spin.elb_metrics_info:
    load_balancer_name: demo
    target_groups: [demo-ec2-green]
    seconds: 600
  register: metrics
  failed_when: metrics.target_groups['demo-ec2-green'].failures > 0
"""

RETURN = r"""
load_balancer:
  description:
    - Of the load balancer as a whole, including all other target groups.
    - C(requests) are those for which there was a target. C(failures) are answers of 5xx, those of
      targets and those of the load balancer itself.
  returned: success
  type: dict
  sample: {requests: 120, failures: 3}
target_groups:
  description:
    - By name. C(failures) are answers of 5xx and C(unanswered), which are requests that got no
      answer of a target, but an error of the load balancer.
    - C(response_ms) is the mean time to an answer in milliseconds, or null if there was none.
  returned: success
  type: dict
  sample:
    demo-ec2-blue: {requests: 100, failures: 3, unanswered: 2, response_ms: 4.2}
    demo-ec2-green: {requests: 20, failures: 0, unanswered: 0, response_ms: 3.9}
"""

from datetime import UTC, datetime, timedelta

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.multicompute.spin.plugins.module_utils import _metrics
from ansible_collections.multicompute.spin.plugins.module_utils._aws import Api


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "load_balancer_name": {"type": "str", "required": True},
            "target_groups": {"type": "list", "elements": "str"},
            "seconds": {"type": "int", "default": 300},
            "since": {"type": "float"},
        },
        supports_check_mode=True,
    )
    params = module.params
    if params["seconds"] <= 0:
        module.fail_json(msg=f"seconds is {params['seconds']}, it must be more than 0")
    arn, groups = _metrics.find(module, params["load_balancer_name"])
    names = list(groups) if params["target_groups"] is None else params["target_groups"]
    groups = {name: groups[name] for name in names if name in groups}
    since = datetime.now(UTC) - timedelta(seconds=params["seconds"])
    if params["since"] is not None:
        since = datetime.fromtimestamp(params["since"], UTC)
    found = _metrics.read(Api(module, "cloudwatch"), arn, groups, since) if arn else {}
    module.exit_json(
        changed=False,
        load_balancer=_metrics.of_load_balancer(found),
        target_groups={name: _metrics.of_target_group(found, name) for name in names},
    )


if __name__ == "__main__":
    main()
