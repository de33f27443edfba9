#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ec2_vpc_route_table
version_added: 1.0.0
short_description: Manage a route table of a VPC with its routes and subnets
description:
  - Creates, changes and deletes a route table, and associates subnets and gateways with it.
  - It takes the options of M(amazon.aws.ec2_vpc_route_table) and returns what that returns, so that
    one can stand for the other. It exists for the time of a first deployment. The published module
    sleeps five seconds after every change; this one waits until subnets are associated, and no
    longer. It shows differences, predicts a new table in full, removes IPv6 routes that are not
    wanted, and moves a subnet from one table to the other without a moment in the main one.
author:
  - The multicompute.spin authors (@multicompute)
options:
  vpc_id:
    description: The VPC of the table. Required unless an ID is given to delete.
    type: str
  lookup:
    description:
      - V(tag) takes the table of the VPC that has all O(tags), and fails if several have. Without
        O(tags) there is always a new one.
      - V(id) takes O(route_table_id), as is needed to change tags.
    type: str
    choices: [tag, id]
    default: tag
  route_table_id:
    description: ID of the table. Required if O(lookup=id).
    type: str
  state:
    description:
      - V(present) creates the table or brings it into the described form.
      - V(absent) takes its subnets and gateways out and deletes it.
    type: str
    choices: [present, absent]
    default: present
  routes:
    description:
      - The routes. Each has a destination and one target. Routes that AWS makes, local ones and
        those that gateways propagate, need not be given.
    type: list
    elements: dict
    default: []
    suboptions:
      dest:
        description: Destination, an IPv4 or IPv6 network.
        type: str
        required: true
      gateway_id:
        description:
          - ID of an internet or virtual private gateway, V(igw) for the internet gateway of the
            VPC, or V(local). IDs of NAT, carrier and transit gateways and of endpoints do as well.
        type: str
      nat_gateway_id:
        description: ID of a NAT gateway.
        type: str
      instance_id:
        description: ID of an instance.
        type: str
      network_interface_id:
        description: ID of a network interface.
        type: str
      transit_gateway_id:
        description: ID of a transit gateway.
        type: str
      vpc_peering_connection_id:
        description: ID of a peering connection.
        type: str
      egress_only_internet_gateway_id:
        description: ID of an egress-only internet gateway, for IPv6.
        type: str
      carrier_gateway_id:
        description: ID of a carrier gateway.
        type: str
      local_gateway_id:
        description: ID of a local gateway.
        type: str
      core_network_arn:
        description: ARN of a core network.
        type: str
      vpc_endpoint_id:
        description: ID of a Gateway Load Balancer endpoint.
        type: str
  purge_routes:
    description: Whether routes that are not in O(routes) are removed.
    type: bool
    default: true
  subnets:
    description:
      - Subnets to associate with the table, each by its ID, its tag V(Name), or its network.
      - Not set, subnets are left alone.
    type: list
    elements: str
  purge_subnets:
    description:
      - Whether subnets that are not in O(subnets) are taken out, if that is set. With
        O(state=absent) whether a table that has subnets is deleted.
    type: bool
    default: true
  gateway_id:
    description:
      - ID of a gateway whose incoming traffic the table routes. V(None) or an empty text takes
        gateways out.
    type: str
  propagating_vgw_ids:
    description: IDs of virtual private gateways that propagate their routes to the table.
    type: list
    elements: str
attributes:
  check_mode:
    description:
      - Predicts exactly what a run would do, and makes no change. Subnets and gateways need not
        exist yet.
    support: full
  diff_mode:
    description: Shows the options that were given, before and after.
    support: full
  idempotent:
    description:
      - A second run changes nothing. The order of routes and subnets, and how a network is written,
        play no role.
    support: full
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.tags
  - amazon.aws.boto3
seealso:
  - module: amazon.aws.ec2_vpc_route_table
  - module: amazon.aws.ec2_vpc_route_table_info
"""

EXAMPLES = r"""
- name: The public subnets reach the internet
  multicompute.spin.ec2_vpc_route_table:
    vpc_id: "{{ vpc_id }}"
    subnets:
      - "{{ public_subnet.subnet.id }}"
      - 10.42.1.0/24
    routes:
      - dest: 0.0.0.0/0
        gateway_id: igw
      - dest: "::/0"
        gateway_id: igw
    tags:
      Name: demo-public
  register: public_routes

- name: The private ones do through the NAT gateway
  multicompute.spin.ec2_vpc_route_table:
    vpc_id: "{{ vpc_id }}"
    subnets: [demo-private-1, demo-private-2]
    routes:
      - dest: 0.0.0.0/0
        nat_gateway_id: "{{ nat_gateway_id }}"
    tags:
      Name: demo-private

- name: The table is gone
  multicompute.spin.ec2_vpc_route_table:
    lookup: id
    route_table_id: "{{ public_routes.route_table.id }}"
    state: absent
"""

RETURN = r"""
route_table:
  description:
    - The table. In check mode a new one has placeholders, or null, for what AWS assigns.
  returned: O(state=present)
  type: dict
  contains:
    id:
      description: Its ID.
      type: str
      sample: rtb-0123456789abcdef0
    route_table_id:
      description: Its ID.
      type: str
      sample: rtb-0123456789abcdef0
    vpc_id:
      description: Its VPC.
      type: str
      sample: vpc-0123456789abcdef0
    owner_id:
      description: The account that owns it.
      type: str
      sample: "123456789012"
    tags:
      description: Its tags.
      type: dict
      sample: {Name: demo-public}
    propagating_vgws:
      description: Virtual private gateways that propagate their routes to it.
      type: list
      elements: dict
      sample: [{gateway_id: vgw-0123456789abcdef0}]
    routes:
      description: Its routes, with those that AWS made.
      type: list
      elements: dict
      contains:
        destination_cidr_block:
          description: An IPv4 destination.
          type: str
          sample: 0.0.0.0/0
        destination_ipv6_cidr_block:
          description: An IPv6 destination.
          type: str
          sample: "::/0"
        gateway_id:
          description: The target, if it is a gateway; other targets have fields of their own.
          type: str
          sample: igw-0123456789abcdef0
        origin:
          description: Who made it.
          type: str
          sample: CreateRoute
        state:
          description: V(blackhole) if the target is gone.
          type: str
          sample: active
    associations:
      description: The subnets and gateways that use it.
      type: list
      elements: dict
      contains:
        route_table_association_id:
          description: ID of the association.
          type: str
          sample: rtbassoc-0123456789abcdef0
        route_table_id:
          description: ID of the table.
          type: str
          sample: rtb-0123456789abcdef0
        subnet_id:
          description: The subnet, if it is one.
          type: str
          sample: subnet-0123456789abcdef0
        gateway_id:
          description: The gateway, if it is one.
          type: str
          sample: igw-0123456789abcdef0
        main:
          description: Whether it is the table of all subnets of the VPC that have no other.
          type: bool
          sample: false
        association_state:
          description: How far AWS is.
          type: dict
          sample: {state: associated}
"""

import uuid
from typing import Any

from ansible.module_utils.common.dict_transformations import camel_dict_to_snake_dict
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.tagging import (
    boto3_tag_list_to_ansible_dict,
)
from ansible_collections.multicompute.spin.plugins.module_utils._aws import Api, finish
from ansible_collections.multicompute.spin.plugins.module_utils._ec2 import (
    filters,
    set_tags,
    tagged,
)
from ansible_collections.multicompute.spin.plugins.module_utils._route_tables import (
    ASSOCIATED,
    PLACEHOLDER,
    TARGETS,
    Options,
    Routes,
    Table,
    after_run,
    associations,
    described,
    destination,
    ids_of,
    in_api,
    is_subnet_id,
    matching,
    predicted,
    shown,
    wanted_routes,
)
from ansible_collections.multicompute.spin.plugins.module_utils._tags import (
    TAG_OPTIONS,
    wanted_tags,
)

SETTLE_SECONDS = 120


# What AWS is asked.


class RouteTable:
    def __init__(self, api: Api) -> None:
        self.api = api
        self.params = api.module.params
        # Every table of the VPC: a subnet may come from another one.
        self.tables: list[Table] = []
        self.table: Table = {}

    @property
    def id(self) -> str:
        return self.table["RouteTableId"]

    def ask(self, operation: str, doing: str, **params: Any) -> dict[str, Any]:
        return self.api.call(operation, f"{doing} the route table {self.id}", **params)

    def read(self, **by: Any) -> list[Table]:
        return self.api.pages(
            "describe_route_tables",
            "RouteTables",
            "read the route tables",
            missing=["InvalidRouteTableID.NotFound"],
            **by,
        )

    def find(self) -> bool:
        vpc_id, id_, tags = (self.params[name] for name in ("vpc_id", "route_table_id", "tags"))
        by = {"Filters": filters(vpc_id=vpc_id)} if vpc_id else {"RouteTableIds": [id_]}
        self.tables = self.read(**by)
        if self.params["lookup"] == "id":
            found = [table for table in self.tables if table["RouteTableId"] == id_]
        else:
            found = [] if tags is None else matching(self.tables, tags)
        if len(found) > 1:
            ids = ", ".join(table["RouteTableId"] for table in found)
            self.api.module.fail_json(
                msg=f"The route tables {ids} of {vpc_id} all have these tags: give more tags, or "
                "lookup=id and route_table_id."
            )
        self.table = found[0] if found else {}
        return bool(found)

    def predict(self) -> None:
        """What creation would give; AWS fills in the rest."""
        self.table = {
            "RouteTableId": self.params["route_table_id"] or f"rtb-{PLACEHOLDER}",
            "VpcId": self.params["vpc_id"],
            "OwnerId": None,
            "Routes": [],
            "Associations": [],
            "PropagatingVgws": [],
        }

    def create(self, tags: dict[str, str]) -> None:
        answer = self.api.call(
            "create_route_table",
            f"create a route table in {self.params['vpc_id']}",
            VpcId=self.params["vpc_id"],
            # However often it is tried, there will be one.
            ClientToken=str(uuid.uuid4()),
            **tagged("route-table", tags),
        )
        self.table = answer["RouteTable"]
        self.wait("route_table_exists")

    def wait(self, waiter: str) -> None:
        doing = f"see the route table {self.id} complete"
        self.api.wait(waiter, doing, SETTLE_SECONDS, RouteTableIds=[self.id])

    def subnet_ids(self) -> list[str]:
        """IDs of the given subnets; check mode takes what does not exist yet as it is."""
        texts = self.params["subnets"] or []
        subnets = []
        if not all(is_subnet_id(text) for text in texts):
            by = filters(vpc_id=self.params["vpc_id"])
            subnets = self.api.pages("describe_subnets", "Subnets", "read the subnets", Filters=by)
        found = ids_of(texts, subnets)
        for text, ids in found.items():
            if len(ids) > 1 or not (ids or self.api.module.check_mode):
                self.api.module.fail_json(
                    msg=f"{len(ids)} subnets of {self.params['vpc_id']} are named {text} or have "
                    "this network: give the ID of one."
                )
        return [id_ for text, ids in found.items() for id_ in ids or [text]]

    def routes_of_options(self) -> list[Options]:
        """The given routes with the ID of the internet gateway."""
        routes = self.params["routes"]
        asked = [route for route in routes if (route["gateway_id"] or "").lower() == "igw"]
        if asked:
            id_ = self.internet_gateway()
            routes = [route | {"gateway_id": id_} if route in asked else route for route in routes]
        return routes

    def internet_gateway(self) -> str:
        vpc_id = self.params["vpc_id"]
        found = self.api.pages(
            "describe_internet_gateways",
            "InternetGateways",
            f"look for the internet gateway of {vpc_id}",
            Filters=[{"Name": "attachment.vpc-id", "Values": [vpc_id]}],
        )
        if not found and not self.api.module.check_mode:
            self.api.module.fail_json(
                msg=f"{vpc_id} has no internet gateway: attach one first, with ec2_vpc_igw."
            )
        return found[0]["InternetGatewayId"] if found else f"igw-{PLACEHOLDER}"

    def update(self, before: Options, after: Options) -> None:
        self.set_routes(before["routes"], after["routes"])
        for id_ in sorted({*after["propagating_vgw_ids"]} - {*before["propagating_vgw_ids"]}):
            self.ask(
                "enable_vgw_route_propagation",
                f"let {id_} propagate its routes to",
                GatewayId=id_,
                RouteTableId=self.id,
            )
        set_tags(self.api, self.id, before["tags"], after["tags"])
        moved = False
        for option in ASSOCIATED:
            for id_ in after[option]:
                if id_ not in before[option]:
                    moved = True
                    self.associate(option, id_)
            for id_ in before[option]:
                if id_ not in after[option]:
                    moved = True
                    self.disassociate(option, id_)
        if moved:
            self.wait("route_table_associated")

    def set_routes(self, before: Routes, after: Routes) -> None:
        for dest, target in after.items():
            known = dest in before or not self.add(dest, target)
            if known and target != before.get(dest):
                self.replace(dest, target)
        for dest in sorted(before.keys() - after.keys()):
            self.ask(
                "delete_route",
                f"remove the route to {dest} from",
                missing=["InvalidRoute.NotFound"],
                RouteTableId=self.id,
                **destination(dest),
            )

    def add(self, dest: str, target: Options) -> bool:
        """Whether it was added: an earlier attempt, or another run, may have got through."""
        return bool(
            self.ask(
                "create_route",
                f"add the route to {dest} to",
                missing=["RouteAlreadyExists"],
                RouteTableId=self.id,
                **in_api(dest, target),
            )
        )

    def replace(self, dest: str, target: Options) -> None:
        local = target == {"gateway_id": "local"}
        self.ask(
            "replace_route",
            f"change the route to {dest} in",
            RouteTableId=self.id,
            **(destination(dest) | {"LocalTarget": True} if local else in_api(dest, target)),
        )

    def associate(self, option: str, id_: str) -> None:
        """A subnet that has another table changes over in one call."""
        for collisions in (("Resource.AlreadyAssociated", "InvalidAssociationID.NotFound"), ()):
            present = associations(self.tables, option).get(id_)
            if present and present["RouteTableId"] == self.id:
                return
            doing = f"associate {id_} with"
            if present:
                answer = self.ask(
                    "replace_route_table_association",
                    doing,
                    missing=collisions,
                    AssociationId=present["RouteTableAssociationId"],
                    RouteTableId=self.id,
                )
            else:
                answer = self.ask(
                    "associate_route_table",
                    doing,
                    missing=collisions,
                    RouteTableId=self.id,
                    **{ASSOCIATED[option]: id_},
                )
            if answer:
                return
            # An earlier attempt, or another run, got through.
            self.tables = self.read(Filters=filters(vpc_id=self.params["vpc_id"]))

    def disassociate(self, option: str, id_: str) -> None:
        self.ask(
            "disassociate_route_table",
            f"take {id_} out of",
            missing=["InvalidAssociationID.NotFound"],
            AssociationId=associations([self.table], option)[id_]["RouteTableAssociationId"],
        )

    def delete(self) -> None:
        taken_out = ("subnets", "gateways") if self.params["purge_subnets"] else ("gateways",)
        used = [(option, id_) for option in taken_out for id_ in associations([self.table], option)]
        for option, id_ in used:
            self.disassociate(option, id_)
        if used:
            self.wait("route_table_associated")
        self.ask(
            "delete_route_table",
            "delete",
            missing=["InvalidRouteTableID.NotFound"],
            retry_on=["DependencyViolation"] if used else [],
            advice={"DependencyViolation": "take its subnets out, or let purge_subnets do so"},
            RouteTableId=self.id,
        )


# The two states.


def present(route_table: RouteTable, params: Options) -> None:
    module = route_table.api.module
    try:
        wanted_routes(params["routes"])
    except ValueError as error:
        module.fail_json(msg=f"{error}.")
    exists = route_table.find()
    if params["lookup"] == "id" and not exists and not module.check_mode:
        module.fail_json(
            msg=f"{params['vpc_id']} has no route table {params['route_table_id']}: check the ID, "
            "or use lookup=tag to have it created."
        )
    routes = wanted_routes(route_table.routes_of_options())
    subnets = route_table.subnet_ids()
    if not exists and module.check_mode:
        route_table.predict()
    elif not exists:
        route_table.create(wanted_tags({}, params["tags"], True))
    current = described(route_table.table, routes)
    state = after_run(params, current, routes, subnets)
    before = shown(params, current) if exists else {}
    after = shown(params, state)
    if module.check_mode:
        table = predicted(route_table.table, current, state)
    else:
        route_table.update(current, state)
        table = (
            route_table.table
            if before == after
            else route_table.read(RouteTableIds=[route_table.id])[0]
        )
    finish(module, before, after, route_table=result(table))


def result(table: Table) -> Options:
    return camel_dict_to_snake_dict(table, ignore_list=["Tags"]) | {
        "tags": boto3_tag_list_to_ansible_dict(table.get("Tags", [])),
        "id": table["RouteTableId"],
    }


def absent(route_table: RouteTable, _params: Options) -> None:
    module = route_table.api.module
    if not route_table.find():
        finish(module, {}, {})
    if not module.check_mode:
        route_table.delete()
    finish(module, {"route_table_id": route_table.id}, {})


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "vpc_id": {"type": "str"},
            "lookup": {"type": "str", "choices": ["tag", "id"], "default": "tag"},
            "route_table_id": {"type": "str"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "routes": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "dest": {"type": "str", "required": True},
                    **{target: {"type": "str"} for target in TARGETS},
                },
                "mutually_exclusive": [tuple(TARGETS)],
                "required_one_of": [tuple(TARGETS)],
            },
            "purge_routes": {"type": "bool", "default": True},
            "subnets": {"type": "list", "elements": "str"},
            "purge_subnets": {"type": "bool", "default": True},
            "gateway_id": {"type": "str"},
            "propagating_vgw_ids": {"type": "list", "elements": "str"},
            **TAG_OPTIONS,
        },
        required_if=[
            ("lookup", "id", ("route_table_id",)),
            ("lookup", "tag", ("vpc_id",)),
            ("state", "present", ("vpc_id",)),
        ],
        supports_check_mode=True,
    )
    route_table = RouteTable(Api(module, "ec2"))
    (present if module.params["state"] == "present" else absent)(route_table, module.params)


if __name__ == "__main__":
    main()
