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
  - An instance serves on the port that the active colour's target group has. Which port has which
    release stands in the tags C(multicompute:<port>) of the instance.
  - The next release comes up on a port that no tag names, so that nothing else can answer there
    meanwhile. If tags name them all, it is one that neither colour has.
  - Of several instances the one that was launched last is to serve.
positional: _input, colours
options:
  _input:
    description: The instances, as C(amazon.aws.ec2_instance_info) returns them.
    type: list
    elements: dict
    required: true
  colours:
    description: The primitive's colours, as C(multicompute.spin.wasm_release_info) returns them.
    type: dict
    required: true
  active:
    description: The colour that has the users. Not set, none has.
    type: str
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
    msg: "{{ found.instances | multicompute.spin.instance_ports(colours, active='blue',
      ports=[8000, 8001, 8002, 8003], release='1.1.0') }}"
"""

RETURN = r"""
_value:
  description:
    - C(fits) says that the active colour serves the release well, and C(target) is where then.
    - Else C(target) is where the release is to come up, or stands by already.
    - C(tag) says that the tag of the port is to be set.
    - C(stale) lists the tags of ports that serve nobody then.
    - C(replaced) lists the instances that go when the release serves.
  type: dict
  sample:
    fits: false
    target: {id: i-0123456789abcdef0, port: 8001}
    tag: true
    stale: ["multicompute:8002"]
    replaced: []
"""

from typing import Any

from ansible_collections.multicompute.spin.plugins.module_utils._ports import (
    port_tag,
    releases_by_port,
)

UNKNOWN = "i-00000000000000000"


def instance_ports(
    instances: list[dict[str, Any]],
    colours: dict[str, dict[str, Any]],
    active: str | None,
    ports: list[int],
    release: str,
) -> dict[str, Any]:
    newest: dict[str, Any] = max(instances, key=lambda one: str(one["launch_time"]), default={})
    id_ = newest.get("instance_id", UNKNOWN)
    releases = releases_by_port(newest.get("tags", {}))

    def ports_of(colour: str | None) -> list[int]:
        targets = colours.get(colour or "", {}).get("targets", [])
        return [int(target["port"]) for target in targets if target["id"] == id_]

    def serving(colour: str | None) -> int | None:
        healthy = [
            int(target["port"])
            for target in colours.get(colour or "", {}).get("targets", [])
            if target["id"] == id_ and target["state"] == "healthy"
        ]
        return next((port for port in healthy if releases.get(port) == release), None)

    used = ports_of(active)
    taken = [port for colour in colours for port in ports_of(colour)]
    standby = [serving(colour) for colour in colours if colour != active]
    free = [port for port in ports if port not in releases and port not in used]
    # A new instance boots with the release on a port, and no colour has it yet.
    booted = [port for port in ports if releases.get(port) == release] if not used else []
    candidates = [serving(active), *standby, *booted, *_after(free, used)]
    # A port of the standby is healthy already, whatever becomes of the release.
    candidates += [*sorted((one for one in ports if one not in used), key=taken.count)]
    port = next(port for port in candidates if port is not None)
    return {
        "fits": serving(active) is not None,
        "target": {"id": id_, "port": port},
        "tag": bool(newest) and releases.get(port) != release,
        "stale": []
        if serving(active) is not None
        else [port_tag(one) for one in sorted(releases) if one not in (port, *used)],
        "replaced": [one["instance_id"] for one in instances if one["instance_id"] != id_],
    }


def _after(free: list[int], used: list[int]) -> list[int]:
    """In turn, so that a port that was freed just now is the last one to be taken."""
    last = max(used, default=0)
    return [port for port in free if port > last] + [port for port in free if port < last]


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"instance_ports": instance_ports}
