#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: elb_watch_info
short_description: Watch by a load balancer's metrics whether a release is worse than the former one
version_added: 1.0.0
author:
  - The multicompute.spin authors (@multicompute)
description:
  - Watches the target group of a release that has users, all of them or a canary's part, and
    compares it with that of the former release. It ends when the time is over, or as soon as
    something speaks against the release.
  - Against it speaks that more than one request in a hundred failed, and more than twice as many
    of its requests as of the former release's. With O(slowdown) also the mean time to an answer,
    once there were a hundred.
  - It looks every two seconds, and every ten if O(seconds) is 60 or more. AWS tells what happened
    a minute or two ago, so less than that sees little there.
options:
  load_balancer_name:
    description: The load balancer.
    type: str
    required: true
  target_group:
    description: Name of the release's target group.
    type: str
    required: true
  former:
    description: Name of the former release's target group.
    type: str
    required: true
  since:
    description:
      - From when on to count, in seconds since 1970. A few minutes before the change of the
        listener, so that there are requests of the former release to compare with.
    type: float
    required: true
  before:
    description:
      - What M(multicompute.spin.elb_metrics_info) returned as C(target_groups) right before the
        change of the listener, with the same O(since). What the release's target group had counted
        by then, such as tests of it, is not counted.
    type: dict
    required: true
  seconds:
    description: How long to watch. V(0) for one look.
    type: int
    default: 180
  slowdown:
    description:
      - How many times as long as the former release's an answer may take in the mean, beyond 5 ms.
        That is not looked at if it is not set.
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
  - module: multicompute.spin.elb_metrics_info
  - module: multicompute.spin.elb_weighted_listener
"""

EXAMPLES = r"""
- name: Read what was counted so far
  multicompute.spin.elb_metrics_info:
    load_balancer_name: demo
    since: 1790000000.0
  register: before

- name: Give the release five per cent of the users
  multicompute.spin.elb_weighted_listener:
    load_balancer_name: demo
    port: 80
    target_groups:
      - {target_group_name: demo-ec2-blue, weight: 95}
      - {target_group_name: demo-ec2-green, weight: 5}

- name: Watch it for ten minutes
  multicompute.spin.elb_watch_info:
    load_balancer_name: demo
    target_group: demo-ec2-green
    former: demo-ec2-blue
    # The same as before.
    since: 1790000000.0
    # before.target_groups
    before:
      demo-ec2-blue: {requests: 2400, failures: 0, unanswered: 0, response_ms: 4.2}
      demo-ec2-green: {requests: 40, failures: 0, unanswered: 0, response_ms: 5.1}
    seconds: 600
    slowdown: 2
  register: watched
  failed_when: watched.against != ''
"""

RETURN = r"""
against:
  description: What speaks against the release; empty if nothing does.
  returned: success
  type: str
  sample: 12 of 60 requests failed, where the former release failed 0 of 3000
requests:
  description: Requests to the release since O(before).
  returned: success
  type: int
  sample: 60
failures:
  description: Those of them that failed, as M(multicompute.spin.elb_metrics_info) counts them.
  returned: success
  type: int
  sample: 12
former_requests:
  description: Requests to the former release since O(since).
  returned: success
  type: int
  sample: 3000
former_failures:
  description: Those of them that failed.
  returned: success
  type: int
  sample: 0
"""

import time
from datetime import UTC, datetime
from typing import Any

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.multicompute.spin.plugins.module_utils import _metrics
from ansible_collections.multicompute.spin.plugins.module_utils._aws import Api


def find(module: AnsibleAWSModule) -> tuple[str, dict[str, str]]:
    """ARN of the load balancer, and those of its target groups by name."""
    balancer = module.params["load_balancer_name"]
    arn, groups = _metrics.find(module, balancer)
    if not arn:
        module.fail_json(
            msg=f"load_balancer_name is {balancer!r}: there is no such load balancer. Check the "
            "name and the region"
        )
        raise AssertionError  # the module has ended
    for option in ("target_group", "former"):
        name = module.params[option]
        if name not in groups:
            module.fail_json(
                msg=f"{option} is {name!r}, to which {balancer} does not forward. Give one of "
                f"{', '.join(sorted(groups)) or 'its target groups, of which it has none yet'}"
            )
    return arn, groups


def watch(module: AnsibleAWSModule) -> dict[str, Any]:
    params = module.params
    new, former = params["target_group"], params["former"]
    arn, groups = find(module)
    cloudwatch = Api(module, "cloudwatch")
    since = datetime.fromtimestamp(params["since"], UTC)
    before = params["before"].get(new) or {}
    pause = 2 if params["seconds"] < 60 else 10
    end = time.monotonic() + params["seconds"]
    while True:
        found = _metrics.read(cloudwatch, arn, {one: groups[one] for one in (new, former)}, since)
        release, other = (_metrics.of_target_group(found, one) for one in (new, former))
        against = _metrics.against(release, before, other, params["slowdown"])
        left = end - time.monotonic()
        if against or left <= 0:
            break
        time.sleep(min(pause, left))
    requests, failures = _metrics.since_change(release, before)
    return {
        "against": against,
        "requests": requests,
        "failures": failures,
        "former_requests": other["requests"],
        "former_failures": other["failures"],
    }


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "load_balancer_name": {"type": "str", "required": True},
            "target_group": {"type": "str", "required": True},
            "former": {"type": "str", "required": True},
            "since": {"type": "float", "required": True},
            "before": {"type": "dict", "required": True},
            "seconds": {"type": "int", "default": 180},
            "slowdown": {"type": "float"},
        },
        supports_check_mode=True,
    )
    if module.params["seconds"] < 0:
        module.fail_json(
            msg=f"seconds is {module.params['seconds']}, it must be 0 for one look, or more"
        )
    module.exit_json(changed=False, **watch(module))


if __name__ == "__main__":
    main()
