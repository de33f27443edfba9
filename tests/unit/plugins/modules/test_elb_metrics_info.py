# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.multicompute.spin.plugins.modules import elb_metrics_info as module
from ansible_collections.multicompute.spin.tests.unit.plugins._stub import (
    AwsError,
    FakeAws,
    run_module,
)

PREFIX = "arn:aws:elasticloadbalancing:eu-central-1:123456789012"
BALANCER = "app/demo/0123456789abcdef"
NONE = {"requests": 0, "failures": 0, "unanswered": 0, "response_ms": None}


class Cloud:
    """A load balancer with two target groups, and the minutes of each metric."""

    def __init__(self, aws: FakeAws) -> None:
        self.groups = ["blue", "green"]
        # By target group (empty: the load balancer) and metric; the statistic for times.
        self.metrics: dict[tuple[str, str], list[float]] = {}
        arn = f"{PREFIX}:loadbalancer/{BALANCER}"
        aws.on("elbv2.DescribeLoadBalancers", {"LoadBalancers": [{"LoadBalancerArn": arn}]})
        aws.on("elbv2.DescribeTargetGroups", self.target_groups)
        aws.on("cloudwatch.GetMetricData", self.metric_data)

    def target_groups(self, request: dict[str, Any]) -> dict[str, Any]:
        assert request["LoadBalancerArn"].endswith(BALANCER)
        return {
            "TargetGroups": [
                {"TargetGroupName": name, "TargetGroupArn": f"{PREFIX}:targetgroup/{name}/0123"}
                for name in self.groups
            ]
        }

    def values(self, query: dict[str, Any]) -> list[float]:
        stat = query["MetricStat"]
        metric = stat["Metric"]
        assert (metric["Namespace"], stat["Period"]) == ("AWS/ApplicationELB", 60)
        balancer, *group = [one["Value"] for one in metric["Dimensions"]]
        assert balancer == BALANCER
        name = metric["MetricName"]
        key = f"{name}.{stat['Stat']}" if name == "TargetResponseTime" else name
        return self.metrics.get((group[0].split("/")[1] if group else "", key), [])

    def metric_data(self, request: dict[str, Any]) -> dict[str, Any]:
        """The first minute of each, then the others on a second page."""
        second = "NextToken" in request
        results = [
            {"Id": query["Id"], "Values": values[1:] if second else values[:1]}
            for query in request["MetricDataQueries"]
            for values in [self.values(query)]
        ]
        return {"MetricDataResults": results} | ({} if second else {"NextToken": "more"})


@pytest.fixture
def cloud(aws: FakeAws) -> Cloud:
    return Cloud(aws)


def run(**options: Any) -> dict[str, Any]:
    result = run_module(module, {"load_balancer_name": "demo", **options})
    assert not result.get("failed"), result
    assert result["changed"] is False
    return result


def test_it_sums_up_what_each_target_group_did(cloud: Cloud, aws: FakeAws) -> None:
    cloud.metrics = {
        ("", "RequestCount"): [100, 20],
        ("", "HTTPCode_Target_5XX_Count"): [1],
        ("", "HTTPCode_ELB_5XX_Count"): [1, 2],
        ("blue", "RequestCount"): [90, 10, 1],
        ("blue", "HTTPCode_Target_2XX_Count"): [80, 10],
        ("blue", "HTTPCode_Target_3XX_Count"): [5],
        ("blue", "HTTPCode_Target_4XX_Count"): [4],
        ("blue", "HTTPCode_Target_5XX_Count"): [1],
        ("blue", "TargetResponseTime.Sum"): [0.25, 0.25],
        ("blue", "TargetResponseTime.SampleCount"): [90, 10],
    }
    result = run(seconds=600)
    assert result["load_balancer"] == {"requests": 120, "failures": 4}
    assert result["target_groups"] == {
        "blue": {"requests": 101, "failures": 2, "unanswered": 1, "response_ms": 5.0},
        "green": NONE,
    }
    first, second = aws.params("GetMetricData")
    assert second["NextToken"] == "more"
    span = (first["EndTime"] - first["StartTime"]).total_seconds()
    assert span == pytest.approx(600, abs=5)


def test_clients_that_hang_up_are_no_failure(cloud: Cloud) -> None:
    cloud.metrics = {
        ("blue", "RequestCount"): [10],
        ("blue", "HTTPCode_Target_2XX_Count"): [7],
        ("", "HTTPCode_ELB_5XX_Count"): [1],
    }
    blue = run()["target_groups"]["blue"]
    assert (blue["unanswered"], blue["failures"]) == (1, 1)


def test_more_answers_than_requests_are_no_failure(cloud: Cloud) -> None:
    cloud.metrics = {
        ("blue", "RequestCount"): [1],
        ("blue", "HTTPCode_Target_2XX_Count"): [2],
        ("", "HTTPCode_ELB_5XX_Count"): [1],
    }
    assert run()["target_groups"]["blue"]["failures"] == 0


def test_only_what_is_asked_for(cloud: Cloud) -> None:
    cloud.metrics = {("green", "RequestCount"): [1], ("green", "HTTPCode_Target_2XX_Count"): [1]}
    result = run(target_groups=["green", "gone"])
    assert result["target_groups"] == {"green": NONE | {"requests": 1}, "gone": NONE}


def test_aws_takes_five_hundred_queries_in_a_call(cloud: Cloud, aws: FakeAws) -> None:
    cloud.groups = [f"group{number}" for number in range(100)]
    cloud.metrics = {("group99", "TargetResponseTime.SampleCount"): [1]}
    assert run()["target_groups"]["group99"]["response_ms"] == 0
    counts = [len(call["MetricDataQueries"]) for call in aws.params("GetMetricData")]
    assert counts == [500, 500, 203, 203]


def test_before_the_first_deployment_there_were_no_requests(aws: FakeAws) -> None:
    aws.on("elbv2.DescribeLoadBalancers", AwsError("LoadBalancerNotFound"))
    result = run(target_groups=["blue"])
    assert result["load_balancer"] == {"requests": 0, "failures": 0}
    assert result["target_groups"] == {"blue": NONE}
    assert run()["target_groups"] == {}


def test_time_goes_on() -> None:
    result = run_module(module, {"load_balancer_name": "demo", "seconds": 0})
    assert result["msg"] == "seconds is 0, it must be more than 0"
