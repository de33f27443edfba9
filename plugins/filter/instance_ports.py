# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Chooses on which port of which instance a release comes up."""

from __future__ import annotations

DOCUMENTATION = r"""
name: instance_ports
short_description: On which port of an EC2 instance a release is to be served
version_added: 1.0.0
author: The multicompute.spin authors
description:
  - An instance serves on the port that its target group has, and the next release comes up on
    another one. Which port has which release stands in the tags C(multicompute:<port>) of the
    instance. So an interrupted roll is taken up where it ended.
  - Of several instances the one that was launched last is to serve.
positional: _input
options:
  _input:
    description: The instances, as C(amazon.aws.ec2_instance_info) returns them.
    type: list
    elements: dict
    required: true
  health:
    description: The health of the targets, as C(community.aws.elb_target_group_info) returns it.
    type: list
    elements: dict
    required: true
  ports:
    description: The ports of an instance.
    type: list
    elements: int
    required: true
  release:
    description: The release.
    type: str
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ found.instances
      | multicompute.spin.instance_ports(health, ports=[8000, 8001], release='1.1.0') }}"
"""

RETURN = r"""
_value:
  description:
    - C(target) is where the release is to be served.
    - C(former) are the other targets that can answer.
    - C(busy) says that C(target) has or had requests of another release, which have to end first.
    - C(tag) says that the tag of the port is to be set.
    - C(unused) lists the tags of ports that serve nobody when the release does.
  type: dict
  sample:
    target: {id: i-0123456789abcdef0, port: 8001}
    former: [{id: i-0123456789abcdef0, port: 8000}]
    busy: false
    tag: true
    unused: ["multicompute:8000"]
"""

from typing import Any

from ansible_collections.multicompute.spin.plugins.module_utils._ports import (
    port_tag,
    releases_by_port,
)

UNKNOWN = "i-00000000000000000"
# A port that is free is taken first, then one that is about to be, then the one that is worst off.
FREE = ["", "draining", "unused", "unhealthy", "initial", "unavailable", "healthy"]


def instance_ports(
    instances: list[dict[str, Any]],
    health: list[dict[str, Any]],
    ports: list[int],
    release: str,
) -> dict[str, Any]:
    newest: dict[str, Any] = max(instances, key=lambda one: str(one["launch_time"]), default={})
    id_ = newest.get("instance_id", UNKNOWN)
    releases = releases_by_port(newest.get("tags", {}))
    states = {
        (one["target"]["id"], int(one["target"]["port"])): one["target_health"]["state"]
        for one in health
    }

    def state(port: int) -> str:
        return str(states.get((id_, port), ""))

    having = [port for port in ports if releases.get(port) == release]
    if having:
        port = max(having, key=lambda port: FREE.index(state(port)))
    else:
        port = min(ports, key=lambda port: FREE.index(state(port)))
    return {
        "target": {"id": id_, "port": port},
        "former": [
            {"id": other, "port": number}
            for (other, number), state_ in sorted(states.items())
            if (other, number) != (id_, port) and state_ == "healthy"
        ],
        "busy": not having and state(port) != "",
        "tag": not having and bool(newest),
        "unused": [port_tag(other) for other in ports if other != port and other in releases],
    }


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"instance_ports": instance_ports}
