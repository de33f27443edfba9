"""ELBv2: the API keeps and returns what it is told, and requests really reach targets.

Upstream drops ForwardConfig, takes instance IDs for host names, calls every target healthy,
answers unknown names with an empty list, and listens on no port of its own.
"""

from __future__ import annotations

from functools import partial

import docker
from ministack import app
from ministack.services import alb

from .. import containers
from ..settings import Cloud
from . import (  # pylint: disable=unused-import
    elb_api,
    elb_forward,
    elb_listeners,  # noqa: F401 - its actions register themselves
    elb_resources,
    elb_targets,
    lifecycle,
)
from .elb_balancer import Balancer
from .elb_health import Targets

_balancer: Balancer


def apply(cloud: Cloud) -> None:
    global _balancer
    client = docker.from_env()

    def address_of_instance(id_: str) -> str | None:
        labels = [f"{containers.LABEL}={cloud.name}", f"instance_id={id_}"]
        for container in client.api.containers(filters={"label": labels}):
            network = container["NetworkSettings"]["Networks"].get(cloud.network, {})
            return network.get("IPAddress") or None
        return None

    _balancer = Balancer(Targets(address_of_instance))
    elb_api.action("DescribeTargetHealth")(
        partial(elb_targets.describe_target_health, _balancer.targets)
    )
    alb.set_targets_for_group = elb_targets.set_targets_for_group
    elb_api.follow_changes(_balancer)
    alb._parse_actions = elb_forward.with_forward_config(alb._parse_actions)
    alb._action_xml = elb_forward.action_xml(alb._action_xml)
    alb._tg_xml = elb_resources.target_group_xml(alb._tg_xml)
    # Requests come in on the listeners' own ports; the DNS name of each is the API's own host.
    app._is_potential_alb_request = lambda host, path: False
    _balancer.start()
    lifecycle.on_start(_balancer.sync)
    lifecycle.on_stop(_balancer.stop)


def state_of(target_group: str, target_id: str) -> str | None:
    """`healthy`, `draining` ... of a target; None when the group does not have it (any more)."""
    states = [t.state for t in _balancer.targets.of(target_group) if t.id == target_id]
    return states[0] if states else None
