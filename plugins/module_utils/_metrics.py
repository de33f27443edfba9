# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What CloudWatch has of a load balancer and its target groups, and what it says of a release."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
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
OF_LOAD_BALANCER: list[tuple[str, str]] = [
    ("RequestCount", "Sum"),
    (ANSWERED[5], "Sum"),
    ("HTTPCode_ELB_5XX_Count", "Sum"),
]
OF_TARGET_GROUP: list[tuple[str, str]] = [
    ("RequestCount", "Sum"),
    *((name, "Sum") for name in ANSWERED.values()),
    (TIME, "Sum"),
    (TIME, "SampleCount"),
]
# Of so many requests one may fail by what no release can help.
TOLERATED = 0.01
# Of fewer requests a few cold starts make the mean.
ENOUGH = 100
# So much longer an answer may always take.
SLACK_MS = 5
# By metric and statistic.
Sums = dict[tuple[str, str], float]
# requests, failures, unanswered and response_ms of one target group.
Counts = Mapping[str, Any]


def find(module: AnsibleAWSModule, name: str) -> tuple[str | None, dict[str, str]]:
    """ARN of the load balancer, and of its target groups by name."""
    elb = Api(module, "elbv2")
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


def read(
    cloudwatch: Api, arn: str, groups: Mapping[str, str], since: datetime
) -> dict[str | None, Sums]:
    """The sums by name of the target group, None for the load balancer."""
    wanted: list[tuple[str | None, tuple[str, str]]] = [(None, one) for one in OF_LOAD_BALANCER]
    wanted += [(name, metric) for name in groups for metric in OF_TARGET_GROUP]
    queries: list[dict[str, Any]] = [
        {
            "Id": f"q{number}",
            "MetricStat": {
                "Metric": {
                    "Namespace": NAMESPACE,
                    "MetricName": metric,
                    "Dimensions": _dimensions(arn, groups[name] if name else None),
                },
                "Period": PERIOD,
                "Stat": statistic,
            },
        }
        for number, (name, (metric, statistic)) in enumerate(wanted)
    ]
    now = datetime.now(UTC)
    sums: dict[str, float] = dict.fromkeys((query["Id"] for query in queries), 0)
    for first in range(0, len(queries), QUERIES):
        for result in cloudwatch.pages(
            "get_metric_data",
            "MetricDataResults",
            f"read the metrics of {arn.split('/')[-2]}",
            MetricDataQueries=queries[first : first + QUERIES],
            StartTime=since,
            EndTime=now,
        ):
            # The values of one query may come on several pages.
            sums[result["Id"]] += sum(result["Values"])
    found: dict[str | None, Sums] = {}
    for query, (name, metric) in zip(queries, wanted, strict=True):
        found.setdefault(name, {})[metric] = sums[query["Id"]]
    return found


def _dimensions(load_balancer: str, group: str | None) -> list[dict[str, str]]:
    """CloudWatch knows both by the last part of their ARNs."""
    value = load_balancer.split(":", 5)[5].removeprefix("loadbalancer/")
    named = [{"Name": "LoadBalancer", "Value": value}]
    return named + ([{"Name": "TargetGroup", "Value": group.split(":", 5)[5]}] if group else [])


def of_load_balancer(found: Mapping[str | None, Sums]) -> dict[str, int]:
    whole = found.get(None, {})
    return {
        "requests": _count(whole, "RequestCount"),
        "failures": _count(whole, ANSWERED[5]) + _errors(found),
    }


def of_target_group(found: Mapping[str | None, Sums], name: str) -> dict[str, Any]:
    sums = found.get(name, {})
    requests = _count(sums, "RequestCount")
    answers = {status: _count(sums, metric) for status, metric in ANSWERED.items()}
    # RequestCount has every request for which a target was chosen, functions included, whatever
    # came of it; HTTPCode_Target_* those that it answered. TargetConnectionErrorCount and
    # Lambda*Error would miss cut connections and time-outs. The rest may also be clients that hung
    # up, but there the load balancer tells no 5xx.
    unanswered = min(max(requests - sum(answers.values()), 0), _errors(found))
    times = sums.get((TIME, "SampleCount"))
    return {
        "requests": requests,
        "failures": answers[5] + unanswered,
        "unanswered": unanswered,
        "response_ms": round(1000 * sums[TIME, "Sum"] / times, 1) if times else None,
    }


def _errors(found: Mapping[str | None, Sums]) -> int:
    return _count(found.get(None, {}), "HTTPCode_ELB_5XX_Count")


def _count(sums: Sums, metric: str) -> int:
    return int(sums.get((metric, "Sum"), 0))


def since_change(after: Counts, before: Counts) -> tuple[int, int]:
    """Requests and failures from the one look to the other."""
    requests, failures = (
        max(0, int(after[key]) - int(before.get(key) or 0)) for key in ("requests", "failures")
    )
    return requests, failures


def against(release: Counts, before: Counts, former: Counts, slowdown: float | None = None) -> str:
    """What speaks against a release that has users; nothing if it is no worse than the former one.

    `before` is what its target group had counted when the users came. The former release's counts
    are those up to then and since: it goes on while the release is a canary.
    """
    requests, failures = since_change(release, before)
    former_requests, former_failures = former["requests"], former["failures"]
    former_rate = former_failures / former_requests if former_requests else 0.0
    if requests and failures / requests > max(TOLERATED, 2 * former_rate):
        return (
            f"{failures} of {requests} requests failed, where the former release failed "
            f"{former_failures} of {former_requests}"
        )
    ms, former_ms = release["response_ms"], former["response_ms"]
    is_measured = requests >= ENOUGH and ms and former_ms
    if slowdown and is_measured and ms > max(former_ms * slowdown, former_ms + SLACK_MS):
        return (
            f"an answer takes {ms} ms (mean), where the former release takes {former_ms} ms and "
            f"{slowdown:g} times that is the limit"
        )
    return ""
