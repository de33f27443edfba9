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
from typing import Any

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.multicompute.spin.plugins.module_utils._aws import Api

NAMESPACE = "AWS/ApplicationELB"
PERIOD = 60
# AWS takes no more in one call.
QUERIES = 500
ANSWERED = {status: f"HTTPCode_Target_{status}XX_Count" for status in (2, 3, 4, 5)}
TIME = "TargetResponseTime"
# Metric and statistic.
OF_LOAD_BALANCER = [
    ("RequestCount", "Sum"),
    (ANSWERED[5], "Sum"),
    ("HTTPCode_ELB_5XX_Count", "Sum"),
]
OF_TARGET_GROUP = [
    ("RequestCount", "Sum"),
    *((name, "Sum") for name in ANSWERED.values()),
    (TIME, "Sum"),
    (TIME, "SampleCount"),
]
# By metric and statistic.
Sums = dict[tuple[str, str], float]


def find(module: AnsibleAWSModule) -> tuple[str | None, dict[str, str]]:
    """ARN of the load balancer, and of its target groups by name."""
    elb = Api(module, "elbv2")
    name = module.params["load_balancer_name"]
    found = elb.call(
        "describe_load_balancers",
        f"look for load balancer {name}",
        missing=["LoadBalancerNotFound"],
        Names=[name],
    )
    for load_balancer in found.get("LoadBalancers", []):
        arn = load_balancer["LoadBalancerArn"]
        groups = elb.pages(
            "describe_target_groups",
            "TargetGroups",
            f"read the target groups of {name}",
            missing=["LoadBalancerNotFound"],
            LoadBalancerArn=arn,
        )
        return arn, {group["TargetGroupName"]: group["TargetGroupArn"] for group in groups}
    return None, {}


def dimensions(load_balancer: str, group: str | None) -> list[dict[str, str]]:
    """CloudWatch knows both by the last part of their ARNs."""
    value = load_balancer.split(":", 5)[5].removeprefix("loadbalancer/")
    named = [{"Name": "LoadBalancer", "Value": value}]
    return named + ([{"Name": "TargetGroup", "Value": group.split(":", 5)[5]}] if group else [])


def read(module: AnsibleAWSModule, arn: str, groups: dict[str, str]) -> dict[str | None, Sums]:
    """The sums by name of the target group, None for the load balancer."""
    wanted: list[tuple[str | None, tuple[str, str]]] = [(None, one) for one in OF_LOAD_BALANCER]
    wanted += [(name, metric) for name in groups for metric in OF_TARGET_GROUP]
    queries = [
        {
            "Id": f"q{number}",
            "MetricStat": {
                "Metric": {
                    "Namespace": NAMESPACE,
                    "MetricName": metric,
                    "Dimensions": dimensions(arn, groups[name] if name else None),
                },
                "Period": PERIOD,
                "Stat": statistic,
            },
        }
        for number, (name, (metric, statistic)) in enumerate(wanted)
    ]
    now = datetime.now(UTC)
    start = now - timedelta(seconds=module.params["seconds"])
    if module.params["since"] is not None:
        start = datetime.fromtimestamp(module.params["since"], UTC)
    cloudwatch = Api(module, "cloudwatch")
    sums: dict[str, float] = dict.fromkeys((query["Id"] for query in queries), 0)
    for first in range(0, len(queries), QUERIES):
        for result in cloudwatch.pages(
            "get_metric_data",
            "MetricDataResults",
            f"read the metrics of {module.params['load_balancer_name']}",
            MetricDataQueries=queries[first : first + QUERIES],
            StartTime=start,
            EndTime=now,
        ):
            # The values of one query may come on several pages.
            sums[result["Id"]] += sum(result["Values"])
    found: dict[str | None, Sums] = {}
    for query, (name, metric) in zip(queries, wanted, strict=True):
        found.setdefault(name, {})[metric] = sums[query["Id"]]
    return found


def count(sums: Sums, metric: str) -> int:
    return int(sums.get((metric, "Sum"), 0))


def told(sums: Sums, errors: int) -> dict[str, Any]:
    """Of one target group, where the load balancer as a whole made so many `errors`."""
    requests = count(sums, "RequestCount")
    answers = {status: count(sums, name) for status, name in ANSWERED.items()}
    # RequestCount has every request for which a target was chosen, functions included, whatever
    # came of it; HTTPCode_Target_* those that it answered. TargetConnectionErrorCount and
    # Lambda*Error would miss cut connections and time-outs. The rest may also be clients that hung
    # up, but there the load balancer tells no 5xx.
    unanswered = min(max(requests - sum(answers.values()), 0), errors)
    times = sums.get((TIME, "SampleCount"))
    return {
        "requests": requests,
        "failures": answers[5] + unanswered,
        "unanswered": unanswered,
        "response_ms": round(1000 * sums[TIME, "Sum"] / times, 1) if times else None,
    }


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
    arn, groups = find(module)
    names = list(groups) if params["target_groups"] is None else params["target_groups"]
    groups = {name: groups[name] for name in names if name in groups}
    found = read(module, arn, groups) if arn else {}
    whole = found.get(None, {})
    errors = count(whole, "HTTPCode_ELB_5XX_Count")
    module.exit_json(
        changed=False,
        load_balancer={
            "requests": count(whole, "RequestCount"),
            "failures": count(whole, ANSWERED[5]) + errors,
        },
        target_groups={name: told(found.get(name, {}), errors) for name in names},
    )


if __name__ == "__main__":
    main()
