"""AWS/ApplicationELB metrics, summed up and handed to CloudWatch every second."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from ministack.services import cloudwatch

NAMESPACE = "AWS/ApplicationELB"


def full_name(arn: str) -> str:
    """The dimension's value: `app/<name>/<id>` or `targetgroup/<name>/<id>`."""
    resource = arn.split(":", 5)[5]
    return resource.removeprefix("loadbalancer/")


@dataclass
class Sums:
    counts: Counter[str] = field(default_factory=Counter)
    # Rounded to milliseconds, so that percentiles need a few values, not one per request.
    seconds: Counter[float] = field(default_factory=Counter)


class Metrics:
    """Sums since the last flush, per load balancer and target group (None: all of them)."""

    def __init__(self) -> None:
        self._sums: defaultdict[tuple[str, str | None], Sums] = defaultdict(Sums)

    def answered(self, load_balancer: str, group: str, status: int, seconds: float) -> None:
        """A target answered."""
        for key in ((load_balancer, None), (load_balancer, group)):
            sums = self._sums[key]
            sums.counts["RequestCount"] += 1
            sums.counts[f"HTTPCode_Target_{status // 100}XX_Count"] += 1
            sums.seconds[round(seconds, 3)] += 1

    def refused(self, load_balancer: str, group: str | None, status: int, cause: str) -> None:
        """The load balancer itself answered with an error; `cause` is a metric of its own."""
        sums = self._sums[load_balancer, None]
        sums.counts["RequestCount"] += 1
        sums.counts[f"HTTPCode_ELB_{status // 100}XX_Count"] += 1
        if status in (500, 502, 503, 504):
            sums.counts[f"HTTPCode_ELB_{status}_Count"] += 1
        if group:
            self._sums[load_balancer, group].counts["RequestCount"] += 1
        if cause:
            for key in ((load_balancer, None), (load_balancer, group)):
                self._sums[key].counts[cause] += 1

    def hosts(self, load_balancer: str, group: str, healthy: int, unhealthy: int) -> None:
        dimensions = _dimensions(load_balancer, group)
        _put("HealthyHostCount", "Count", dimensions, {float(healthy): 1})
        _put("UnHealthyHostCount", "Count", dimensions, {float(unhealthy): 1})

    def flush(self, load_balancer: str) -> None:
        """Hand the sums of a load balancer to CloudWatch; within its account and region."""
        for key in [key for key in self._sums if key[0] == load_balancer]:
            sums = self._sums.pop(key)
            dimensions = _dimensions(*key)
            for name, count in sums.counts.items():
                _put(name, "Count", dimensions, {1.0: count})
            _put("TargetResponseTime", "Seconds", dimensions, sums.seconds)

    @property
    def load_balancers(self) -> set[str]:
        return {load_balancer for load_balancer, _unused in self._sums}


def _dimensions(load_balancer: str, group: str | None) -> dict[str, str]:
    dimensions = {"LoadBalancer": full_name(load_balancer)}
    return dimensions | ({"TargetGroup": full_name(group)} if group else {})


def _put(name: str, unit: str, dimensions: dict[str, str], counts: Mapping[float, int]) -> None:
    """Store each value as often as it was seen."""
    if counts:
        values, times = list(counts), list(counts.values())
        now = time.time()
        cloudwatch._store_datum(NAMESPACE, name, dimensions, now, unit, None, values, times, None)
