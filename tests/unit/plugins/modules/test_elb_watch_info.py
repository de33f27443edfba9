# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import time
from typing import Any

import pytest
from ansible_collections.multicompute.spin.plugins.modules import elb_watch_info as module
from ansible_collections.multicompute.spin.tests.unit.plugins._stub import (
    AwsError,
    FakeAws,
    run_module,
)

PREFIX = "arn:aws:elasticloadbalancing:eu-central-1:123456789012"
SINCE = 1_800_000_000.5
BEFORE = {"requests": 40, "failures": 0, "unanswered": 0, "response_ms": 5.0}


class Cloud:
    """A release in green, which gets ten requests more with each look; time passes in pauses."""

    def __init__(self, aws: FakeAws, monkeypatch: pytest.MonkeyPatch) -> None:
        self.groups = ["blue", "green"]
        # From this look on green fails them all.
        self.bad_from = 1000
        self.green_ms = 5.0
        self.pauses: list[float] = []
        arn = f"{PREFIX}:loadbalancer/app/demo/0123456789abcdef"
        aws.on("elbv2.DescribeLoadBalancers", {"LoadBalancers": [{"LoadBalancerArn": arn}]})
        aws.on("elbv2.DescribeTargetGroups", self.target_groups)
        aws.on("cloudwatch.GetMetricData", self.metric_data)
        self.aws = aws
        monkeypatch.setattr(time, "sleep", self.pauses.append)
        monkeypatch.setattr(time, "monotonic", lambda: 100 + sum(self.pauses))

    @property
    def looks(self) -> int:
        return len(self.aws.params("GetMetricData"))

    def target_groups(self, _request: dict[str, Any]) -> dict[str, Any]:
        return {
            "TargetGroups": [
                {"TargetGroupName": name, "TargetGroupArn": f"{PREFIX}:targetgroup/{name}/0123"}
                for name in self.groups
            ]
        }

    def value(self, query: dict[str, Any]) -> float:
        metric = query["MetricStat"]["Metric"]
        _balancer, *group = [one["Value"].split("/")[1] for one in metric["Dimensions"]]
        requests, bad = 40 + 10 * self.looks, max(0, 10 * (self.looks - self.bad_from + 1))
        of_green: dict[str, float] = {
            "RequestCount": requests,
            "HTTPCode_Target_2XX_Count": requests - bad,
            "HTTPCode_Target_5XX_Count": bad,
            "TargetResponseTime.Sum": self.green_ms / 1000,
            "TargetResponseTime.SampleCount": 1,
        }
        of_blue: dict[str, float] = {
            "RequestCount": 3000,
            "HTTPCode_Target_2XX_Count": 3000,
            "TargetResponseTime.Sum": 0.02,
            "TargetResponseTime.SampleCount": 1,
        }
        name = metric["MetricName"]
        if name == "TargetResponseTime":
            name = f"{name}.{query['MetricStat']['Stat']}"
        return {"blue": of_blue, "green": of_green}.get(*group or [""], {}).get(name, 0)

    def metric_data(self, request: dict[str, Any]) -> dict[str, Any]:
        results = [
            {"Id": query["Id"], "Values": [self.value(query)]}
            for query in request["MetricDataQueries"]
        ]
        return {"MetricDataResults": results}


@pytest.fixture
def cloud(aws: FakeAws, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    return Cloud(aws, monkeypatch)


def watch(**options: Any) -> dict[str, Any]:
    given = {
        "load_balancer_name": "demo",
        "target_group": "green",
        "former": "blue",
        "since": SINCE,
        "before": {"green": BEFORE, "blue": BEFORE},
    }
    return run_module(module, given | options)


def told(result: dict[str, Any]) -> dict[str, Any]:
    assert not result.get("failed"), result
    assert result["changed"] is False
    return {key: value for key, value in result.items() if key not in ("changed", "invocation")}


@pytest.mark.parametrize(
    ("seconds", "pauses"),
    [
        (0, []),
        (1, [1]),
        (59, [2] * 29 + [1]),
        (60, [10] * 6),
        (75, [10] * 7 + [5]),
    ],
)
def test_it_looks_until_the_time_is_over(cloud: Cloud, seconds: int, pauses: list[float]) -> None:
    result = told(watch(seconds=seconds))
    assert cloud.pauses == pauses
    assert cloud.looks == len(pauses) + 1
    assert result == {
        "against": "",
        "requests": 10 * cloud.looks,
        "failures": 0,
        "former_requests": 3000,
        "former_failures": 0,
    }


def test_it_ends_as_soon_as_something_speaks_against_the_release(cloud: Cloud) -> None:
    cloud.bad_from = 3
    result = told(watch(seconds=180))
    assert cloud.pauses == [10, 10]
    assert result == {
        "against": "10 of 30 requests failed, where the former release failed 0 of 3000",
        "requests": 30,
        "failures": 10,
        "former_requests": 3000,
        "former_failures": 0,
    }


def test_slowness_is_looked_at_when_that_is_asked_for(cloud: Cloud) -> None:
    cloud.green_ms = 50
    assert told(watch(seconds=120))["against"] == ""
    assert "an answer takes 50.0 ms" in told(watch(seconds=120, slowdown=2))["against"]


def test_what_was_not_counted_before_had_no_requests(cloud: Cloud) -> None:
    assert told(watch(seconds=0, before={}))["requests"] == 50


def test_it_counts_both_since_the_given_moment_alone(cloud: Cloud, aws: FakeAws) -> None:
    cloud.groups += ["other"]
    watch(seconds=0)
    (request,) = aws.params("GetMetricData")
    assert request["StartTime"].timestamp() == SINCE
    asked = {
        one["Value"].split("/")[1]
        for query in request["MetricDataQueries"]
        for one in query["MetricStat"]["Metric"]["Dimensions"]
    }
    assert asked == {"demo", "green", "blue"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"target_group": "gren"},
            "target_group is 'gren', to which demo does not forward. Give one of blue, green",
        ),
        ({"former": "red"}, "former is 'red', to which demo does not forward"),
        ({"seconds": -1}, "seconds is -1, it must be 0 for one look, or more"),
    ],
)
def test_a_watch_of_nothing_is_a_mistake(
    cloud: Cloud, options: dict[str, Any], message: str
) -> None:
    assert watch(**options)["msg"].startswith(message)
    assert cloud.looks == 0


def test_a_load_balancer_is_to_be_there(cloud: Cloud, aws: FakeAws) -> None:
    cloud.groups = []
    assert "its target groups, of which it has none yet" in watch()["msg"]
    aws.on("elbv2.DescribeLoadBalancers", AwsError("LoadBalancerNotFound"))
    assert watch()["msg"].startswith("load_balancer_name is 'demo': there is no such load balancer")


def test_whoever_may_not_read_metrics_learns_what_to_allow(cloud: Cloud, aws: FakeAws) -> None:
    aws.on("cloudwatch.GetMetricData", AwsError("AccessDenied", "not you", 403))
    result = watch()
    assert result["failed"]
    assert result["msg"].startswith(
        "Could not read the metrics of demo (allow cloudwatch:GetMetricData to the identity"
    )
    assert cloud.pauses == []
