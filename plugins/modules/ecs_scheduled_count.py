#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: ecs_scheduled_count
short_description: Change an ECS service's desired count at a later time
version_added: 1.0.0
author:
  - The multicompute.spin authors (@multicompute)
description:
  - Lets Application Auto Scaling set the desired count of an ECS service once, some time from now,
    whoever is at work then. With a count of 0 a service that nobody needs any more ends by itself.
  - It makes the service a scalable target, and gives that one scheduled action.
options:
  cluster:
    description: Name or ARN of the cluster.
    type: str
    required: true
  service:
    description: Name or ARN of the service.
    type: str
    required: true
  count:
    description: The desired count from then on.
    type: int
    default: 0
  after:
    description:
      - How many seconds from now. Required with O(state=present).
      - AWS does it within a minute of that time.
    type: int
  state:
    description:
      - V(present) schedules the change. One that is scheduled already keeps its time.
      - V(absent) takes it back, and leaves the service's count as it is. Do so before the count is
        changed by other means, and before the service is deleted. A new service of the same name
        would be scaled, too.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    support: full
    description: Takes a service that does not exist yet for one that the same play would have made.
  diff_mode:
    support: full
    description: Shows the time and the count.
  idempotent:
    support: full
    description: A scheduled change stays; a service that has the count already needs none.
notes:
  - The first scalable target of an account needs the permission C(iam:CreateServiceLinkedRole).
  - The scalable target stays when the change is done, as long as it is not V(absent).
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: Keep the former tasks for ten minutes
  multicompute.spin.ecs_scheduled_count:
    cluster: multicompute
    service: ecs-blue
    after: 600

- name: Keep them for good
  multicompute.spin.ecs_scheduled_count:
    cluster: multicompute
    service: ecs-blue
    state: absent
"""

RETURN = r"""
at:
  description: When the count changes, in UTC; null where nothing is scheduled.
  returned: success
  type: str
  sample: "2026-11-23T10:20:00Z"
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.multicompute.spin.plugins.module_utils._aws import Api, finish

ACTION = "scheduled-count"
SCHEDULE = "at(%Y-%m-%dT%H:%M:%S)"
# What is past when AWS reads it never happens, and clocks differ.
SOONEST_SECONDS = 5


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def time_of(action: dict[str, Any]) -> datetime | None:
    """When the action is going to run; None for one that has, or that has no single time."""
    try:
        at = datetime.strptime(action["Schedule"], SCHEDULE).replace(tzinfo=UTC)
    except ValueError:
        return None
    return at if at > now() else None


def state(at: datetime | None, count: int | None) -> dict[str, Any]:
    """What the diff shows."""
    if at is None:
        return {"at": None}
    return {"at": at.strftime("%Y-%m-%dT%H:%M:%SZ"), "count": count}


class ScheduledCount:
    def __init__(self, module: AnsibleAWSModule) -> None:
        self.module = module
        self.params = module.params
        self.ecs = Api(module, "ecs")
        self.scaling = Api(module, "application-autoscaling")
        cluster, service = (self.params[key].rpartition("/")[2] for key in ("cluster", "service"))
        self.name = f"service {service} of cluster {cluster}"
        self.resource: dict[str, Any] = {
            "ServiceNamespace": "ecs",
            "ResourceId": f"service/{cluster}/{service}",
            "ScalableDimension": "ecs:service:DesiredCount",
        }

    def desired_count(self) -> int | None:
        """The service's count now, None if there is no such service."""
        answer = self.ecs.call(
            "describe_services",
            f"read {self.name}",
            missing=["ClusterNotFoundException"],
            cluster=self.params["cluster"],
            services=[self.params["service"]],
        )
        active = [one for one in answer.get("services", []) if one["status"] == "ACTIVE"]
        return active[0]["desiredCount"] if active else None

    def scheduled(self) -> tuple[datetime | None, int | None]:
        """Time and count of what is going to happen."""
        answer = self.scaling.call(
            "describe_scheduled_actions",
            f"read the scheduled actions of {self.name}",
            ScheduledActionNames=[ACTION],
            **self.resource,
        )
        for action in answer["ScheduledActions"]:
            return time_of(action), action["ScalableTargetAction"].get("MaxCapacity")
        return None, None

    def schedule(self, at: datetime, desired: int) -> None:
        count = self.params["count"]
        self.scaling.call(
            "register_scalable_target",
            f"register {self.name} as a scalable target",
            # Limits that leave the count as it is until then.
            MinCapacity=min(count, desired),
            MaxCapacity=max(count, desired),
            **self.resource,
        )
        self.scaling.call(
            "put_scheduled_action",
            f"schedule the count of {self.name}",
            # A target that was registered a moment ago may not be known everywhere.
            retry_on=["ObjectNotFoundException"],
            ScheduledActionName=ACTION,
            Schedule=at.strftime(SCHEDULE),
            ScalableTargetAction={"MinCapacity": count, "MaxCapacity": count},
            **self.resource,
        )

    def present(self) -> None:
        count = self.params["count"]
        desired = self.desired_count()
        if desired is None and not self.module.check_mode:
            found = f"There is no {self.name}"
            self.module.fail_json(msg=f"{found}: create it first, or correct cluster and service")
        at, before = self.scheduled()
        wanted = at
        if at is None and desired != count:
            wanted = now() + timedelta(seconds=max(self.params["after"], SOONEST_SECONDS))
        if wanted and (at, before) != (wanted, count) and not self.module.check_mode:
            self.schedule(wanted, desired or 0)
        after = state(wanted, count)
        finish(self.module, state(at, before), after, at=after["at"])

    def absent(self) -> None:
        answer = self.scaling.call(
            "describe_scalable_targets",
            f"read the scalable target of {self.name}",
            ServiceNamespace=self.resource["ServiceNamespace"],
            ResourceIds=[self.resource["ResourceId"]],
            ScalableDimension=self.resource["ScalableDimension"],
        )
        registered = bool(answer["ScalableTargets"])
        at, count = self.scheduled() if registered else (None, None)
        if registered and not self.module.check_mode:
            self.scaling.call(
                "deregister_scalable_target",
                f"deregister the scalable target of {self.name}",
                missing=["ObjectNotFoundException"],
                **self.resource,
            )
        before = {"scalable_target": registered, **state(at, count)}
        finish(self.module, before, {"scalable_target": False, "at": None}, at=None)


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "cluster": {"required": True},
            "service": {"required": True},
            "count": {"type": "int", "default": 0},
            "after": {"type": "int"},
            "state": {"choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ["after"])],
        supports_check_mode=True,
    )
    for option in ("count", "after"):
        value = module.params[option]
        if value is not None and value < 0:
            module.fail_json(msg=f"{option} is {value}, it must be 0 or more")
    scheduled = ScheduledCount(module)
    if module.params["state"] == "present":
        scheduled.present()
    scheduled.absent()


if __name__ == "__main__":
    main()
