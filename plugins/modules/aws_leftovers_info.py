#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: aws_leftovers_info
short_description: List everything in an account and region that carries a tag
version_added: 1.0.0
author:
  - The multicompute.spin authors (@multicompute)
description:
  - Proves that nothing of a deployment is left, or shows what is.
  - The Resource Groups Tagging API lags behind, still returns what was deleted, and does not know
    every kind of resource. So the services that this collection uses are asked themselves. These
    are CloudWatch, CloudWatch Logs, EC2 with VPC, ECR, ECS, EFS, Elastic Load Balancing, IAM,
    Lambda, S3 and Systems Manager. The Tagging API answers for all others.
  - Some services show tags of one resource at a time only. Of those, only resources are looked at
    whose name contains O(tag_value), or which the Tagging API returns.
  - Dashboards count by name alone, and so do the network interfaces of a VPC that is left.
  - What no longer works or costs does not count. These are terminated instances, inactive ECS
    clusters, services and task definitions, deleted NAT gateways, endpoints and file systems. What
    is being deleted still counts.
attributes:
  check_mode:
    support: full
    description: Changes nothing.
  diff_mode:
    support: none
    description: Changes nothing.
  idempotent:
    support: full
    description: Changes nothing.
options:
  tag_key:
    description: Key of the tag.
    type: str
    default: multicompute:deployment
  tag_value:
    description: Value of the tag, for this collection the name of a deployment.
    type: str
    required: true
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: Look for leftovers
  multicompute.spin.aws_leftovers_info:
    tag_value: demo
  register: leftovers
  until: leftovers.count == 0
  retries: 10
  delay: 5

- name: Look in another region, for another tag
  multicompute.spin.aws_leftovers_info:
    region: us-west-2
    tag_key: team
    tag_value: wasm
"""

RETURN = r"""
leftovers:
  description: What carries the tag, sorted by ARN.
  returned: success
  type: list
  elements: dict
  contains:
    service:
      description: Service, as in an ARN.
      type: str
      sample: ec2
    type:
      description: Type of resource, as in an ARN.
      type: str
      sample: vpc
    id:
      description: What the service's API calls it.
      type: str
      sample: vpc-0123456789abcdef0
    arn:
      description: ARN of the resource.
      type: str
      sample: arn:aws:ec2:eu-central-1:123456789012:vpc/vpc-0123456789abcdef0
    name:
      description: Its name, or its tag C(Name), else its ID.
      type: str
      sample: demo
count:
  description: How many there are.
  returned: success
  type: int
  sample: 1
"""

import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any, NamedTuple

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.multicompute.spin.plugins.module_utils._aws import Api

Item = dict[str, Any]


class Kind(NamedTuple):
    """A kind of resource whose tags are in the listing, or are asked for one by one."""

    service: str
    type: str
    list: str
    key: str
    name: str
    arn: str
    tags: str
    # Operation that reads the tags of one resource: its parameter, and where that is in the item.
    ask: str = ""
    parameter: str = ""
    value: str = ""
    options: dict[str, Any] = {}


KINDS = [
    Kind("efs", "file-system", "describe_file_systems", "FileSystems", "FileSystemId",
         "FileSystemArn", "Tags"),
    Kind("efs", "access-point", "describe_access_points", "AccessPoints", "AccessPointId",
         "AccessPointArn", "Tags"),
    Kind("cloudwatch", "alarm", "describe_alarms", "MetricAlarms", "AlarmName",
         "AlarmArn", "Tags", "list_tags_for_resource", "ResourceARN", "AlarmArn"),
    Kind("ecr", "repository", "describe_repositories", "repositories", "repositoryName",
         "repositoryArn", "tags", "list_tags_for_resource", "resourceArn", "repositoryArn"),
    Kind("iam", "role", "list_roles", "Roles", "RoleName",
         "Arn", "Tags", "list_role_tags", "RoleName", "RoleName"),
    Kind("iam", "instance-profile", "list_instance_profiles", "InstanceProfiles",
         "InstanceProfileName", "Arn", "Tags", "list_instance_profile_tags",
         "InstanceProfileName", "InstanceProfileName"),
    Kind("iam", "policy", "list_policies", "Policies", "PolicyName",
         "Arn", "Tags", "list_policy_tags", "PolicyArn", "Arn", {"Scope": "Local"}),
    Kind("lambda", "function", "list_functions", "Functions", "FunctionName",
         "FunctionArn", "Tags", "list_tags", "Resource", "FunctionArn"),
    Kind("logs", "log-group", "describe_log_groups", "logGroups", "logGroupName",
         "arn", "tags", "list_tags_for_resource", "resourceArn", "arn"),
    Kind("s3", "bucket", "list_buckets", "Buckets", "Name",
         "Arn", "TagSet", "get_bucket_tagging", "Bucket", "Name"),
]  # fmt: skip

# What EC2's DescribeTags returns may be gone: type -> operation, result, ID, more parameters.
EC2 = {
    "elastic-ip": ("describe_addresses", "Addresses", "AllocationId", {}),
    "image": ("describe_images", "Images", "ImageId", {"Owners": ["self"]}),
    "instance": ("describe_instances", "Reservations", "InstanceId", {}),
    "internet-gateway": ("describe_internet_gateways", "InternetGateways", "InternetGatewayId", {}),
    "key-pair": ("describe_key_pairs", "KeyPairs", "KeyPairId", {}),
    "natgateway": ("describe_nat_gateways", "NatGateways", "NatGatewayId", {}),
    "network-interface": (
        "describe_network_interfaces", "NetworkInterfaces", "NetworkInterfaceId", {},
    ),
    "route-table": ("describe_route_tables", "RouteTables", "RouteTableId", {}),
    "security-group": ("describe_security_groups", "SecurityGroups", "GroupId", {}),
    "snapshot": ("describe_snapshots", "Snapshots", "SnapshotId", {"OwnerIds": ["self"]}),
    "subnet": ("describe_subnets", "Subnets", "SubnetId", {}),
    "volume": ("describe_volumes", "Volumes", "VolumeId", {}),
    "vpc": ("describe_vpcs", "Vpcs", "VpcId", {}),
    "vpc-endpoint": ("describe_vpc_endpoints", "VpcEndpoints", "VpcEndpointId", {}),
}  # fmt: skip

# Services that are asked themselves, so that the Tagging API's answers for them are not needed.
ASKED = {
    "cloudwatch",
    "ec2",
    "ecr",
    "ecs",
    "elasticfilesystem",
    "elasticloadbalancing",
    "iam",
    "lambda",
    "logs",
    "s3",
    "ssm",
}
# A resource may go while it is looked at, and a bucket without tags is an error to S3.
VANISHED = [
    "InvalidResourceId",
    "NoSuchBucket",
    "NoSuchEntity",
    "NoSuchTagSet",
    "RepositoryNotFoundException",
    "ResourceNotFound",
    "ResourceNotFoundException",
]
GONE = {"deleted", "INACTIVE", "terminated"}


# Pure functions.


def as_dict(tags: Any) -> dict[str, str]:
    """Services write tags as a dictionary, or as a list with keys in either case."""
    if isinstance(tags, dict):
        return tags
    return {
        tag.get("Key", tag.get("key")): tag.get("Value", tag.get("value")) for tag in tags or []
    }


def is_gone(item: Item) -> bool:
    state = item.get("State", item.get("LifeCycleState", item.get("status")))
    if isinstance(state, dict):  # of an instance
        state = state.get("Name")
    return state in GONE


def split_arn(arn: str) -> tuple[str, str, str]:
    """Service, type and ID."""
    _arn, _partition, service, _region, _account, resource = arn.split(":", 5)
    *kind, name = re.split("[:/]", resource.lstrip("/"), maxsplit=1)
    return service, "".join(kind), name


def chunks(items: Iterable[str], size: int) -> Iterator[list[str]]:
    items = list(items)
    return (items[start : start + size] for start in range(0, len(items), size))


def leftover(service: str, kind: str, name: str, arn: str, tags: Any = None) -> Item:
    """`name` is what the API calls it; a tag Name says it better."""
    return {
        "service": service,
        "type": kind,
        "id": name,
        "arn": arn,
        "name": as_dict(tags).get("Name", name),
    }


# What is asked of AWS.


class Search:
    def __init__(self, module: AnsibleAWSModule) -> None:
        self.module = module
        self.key: str = module.params["tag_key"]
        self.value: str = module.params["tag_value"]
        self.apis: dict[str, Api] = {}
        self.hinted = {
            entry["ResourceARN"]: as_dict(entry["Tags"])
            for entry in self.items(
                "resourcegroupstaggingapi",
                "get_resources",
                "ResourceTagMappingList",
                TagFilters=[{"Key": self.key, "Values": [self.value]}],
            )
        }

    def api(self, service: str) -> Api:
        if service not in self.apis:
            self.apis[service] = Api(self.module, service)
        return self.apis[service]

    def call(self, service: str, operation: str, **params: Any) -> Item:
        doing = f"look for leftovers of {self.value} in {service}"
        return self.api(service).call(operation, doing, missing=VANISHED, **params)

    def items(self, service: str, operation: str, key: str, **params: Any) -> list[Any]:
        api = self.api(service)
        if not api.client.can_paginate(operation):
            return self.call(service, operation, **params).get(key, [])
        doing = f"look for leftovers of {self.value} in {service}"
        return api.pages(operation, key, doing, **params)

    def is_tagged(self, tags: Any) -> bool:
        return as_dict(tags).get(self.key) == self.value

    def is_worth_asking(self, name: str, arn: str) -> bool:
        return self.value in name or arn in self.hinted

    def all(self) -> list[Item]:
        found = [
            *(item for kind in KINDS for item in self.of_kind(kind)),
            *self.of_dashboards(),
            *self.of_ec2(),
            *self.of_ecs(),
            *self.of_load_balancing(),
            *self.of_parameters(),
            *self.of_others(),
        ]
        return sorted(found, key=lambda item: item["arn"])

    def of_kind(self, kind: Kind) -> Iterator[Item]:
        partition = self.api(kind.service).client.meta.partition
        for item in self.items(kind.service, kind.list, kind.key, **kind.options):
            name = item[kind.name]
            arn = item.get(kind.arn, f"arn:{partition}:s3:::{name}").removesuffix(":*")
            tags = item.get(kind.tags)
            if kind.ask and self.is_worth_asking(name, arn):
                value = arn if kind.value == kind.arn else name
                tags = self.call(kind.service, kind.ask, **{kind.parameter: value}).get(kind.tags)
            if self.is_tagged(tags) and not is_gone(item):
                yield leftover(arn.split(":")[2], kind.type, name, arn, tags)

    def of_dashboards(self) -> Iterator[Item]:
        dashboards = self.items(
            "cloudwatch", "list_dashboards", "DashboardEntries", DashboardNamePrefix=self.value
        )
        for item in dashboards:
            name = item["DashboardName"]
            if name == self.value or name.startswith(f"{self.value}-"):
                yield leftover("cloudwatch", "dashboard", name, item["DashboardArn"])

    def of_ec2(self) -> Iterator[Item]:
        of_key = [{"Name": "key", "Values": [self.key]}, {"Name": "value", "Values": [self.value]}]
        tags = self.items("ec2", "describe_tags", "Tags", Filters=of_key)
        by_tag = [{"Name": f"tag:{self.key}", "Values": [self.value]}]
        networks = []
        for kind in sorted({tag["ResourceType"] for tag in tags}):
            if kind not in EC2:
                ids = [tag["ResourceId"] for tag in tags if tag["ResourceType"] == kind]
                yield from (self.ec2_leftover(kind, one) for one in ids)
                continue
            for item in self.ec2_items(kind, by_tag):
                own = item.get("Tags", item.get("TagSet"))
                if self.is_tagged(own):
                    yield self.ec2_leftover(kind, item[EC2[kind][2]], own)
                    networks += [item["VpcId"]] if kind == "vpc" else []
        if networks:
            # AWS made them for functions, tasks and mount targets: they have no tag of ours.
            inside = [{"Name": "vpc-id", "Values": networks}]
            for item in self.ec2_items("network-interface", inside):
                if item.get("VpcId") in networks and not self.is_tagged(item.get("TagSet")):
                    identity = item["NetworkInterfaceId"]
                    yield self.ec2_leftover("network-interface", identity, item.get("TagSet"))

    def ec2_items(self, kind: str, filters: list[Item]) -> list[Item]:
        operation, key, _id, options = EC2[kind]
        parameter = "Filter" if kind == "natgateway" else "Filters"
        items = self.items("ec2", operation, key, **{parameter: filters}, **options)
        if kind == "instance":
            items = [instance for reservation in items for instance in reservation["Instances"]]
        return [item for item in items if not is_gone(item)]

    @cached_property
    def account(self) -> str:
        return self.call("sts", "get_caller_identity")["Account"]

    def ec2_leftover(self, kind: str, identity: str, tags: Any = None) -> Item:
        meta = self.api("ec2").client.meta
        arn = f"arn:{meta.partition}:ec2:{meta.region_name}:{self.account}:{kind}/{identity}"
        return leftover("ec2", kind, identity, arn, tags)

    def of_ecs(self) -> Iterator[Item]:
        of_services = [arn for arn in self.hinted if split_arn(arn)[:2] == ("ecs", "service")]
        clusters = {split_arn(arn)[2].split("/")[0] for arn in of_services}
        arns = self.items("ecs", "list_clusters", "clusterArns")
        for some in chunks(arns, 100):
            answer = self.call("ecs", "describe_clusters", clusters=some, include=["TAGS"])
            for item in answer["clusters"]:
                if self.is_tagged(item.get("tags")) and not is_gone(item):
                    clusters.add(item["clusterName"])
                    name, arn = item["clusterName"], item["clusterArn"]
                    yield leftover("ecs", "cluster", name, arn, item["tags"])
        for cluster in sorted(clusters & {split_arn(arn)[2] for arn in arns}):
            yield from self.of_ecs_services(cluster)
        for arn in self.items("ecs", "list_task_definitions", "taskDefinitionArns"):
            name = split_arn(arn)[2]
            if self.is_worth_asking(name, arn):
                tags = self.call("ecs", "list_tags_for_resource", resourceArn=arn).get("tags")
                if self.is_tagged(tags):
                    yield leftover("ecs", "task-definition", name, arn, tags)

    def of_ecs_services(self, cluster: str) -> Iterator[Item]:
        arns = self.items("ecs", "list_services", "serviceArns", cluster=cluster)
        for some in chunks(arns, 10):
            services = self.call(
                "ecs", "describe_services", cluster=cluster, services=some, include=["TAGS"]
            )
            for item in services["services"]:
                if self.is_tagged(item.get("tags")) and not is_gone(item):
                    name, arn = item["serviceName"], item["serviceArn"]
                    yield leftover("ecs", "service", name, arn, item["tags"])

    def of_load_balancing(self) -> Iterator[Item]:
        """Listeners and rules go with their load balancer."""
        for kind, operation, key, prefix in (
            ("loadbalancer", "describe_load_balancers", "LoadBalancers", "LoadBalancer"),
            ("targetgroup", "describe_target_groups", "TargetGroups", "TargetGroup"),
        ):
            items = self.items("elbv2", operation, key)
            names = {item[f"{prefix}Arn"]: item[f"{prefix}Name"] for item in items}
            for some in chunks(names, 20):
                answer = self.call("elbv2", "describe_tags", ResourceArns=some)
                for entry in answer.get("TagDescriptions", []):
                    arn, tags = entry["ResourceArn"], entry.get("Tags")
                    if self.is_tagged(tags):
                        yield leftover("elasticloadbalancing", kind, names[arn], arn, tags)

    def of_parameters(self) -> Iterator[Item]:
        by_tag = [{"Key": f"tag:{self.key}", "Values": [self.value]}]
        parameters = self.items("ssm", "describe_parameters", "Parameters", ParameterFilters=by_tag)
        for item in parameters:
            name = item["Name"]
            tags = self.call(
                "ssm", "list_tags_for_resource", ResourceType="Parameter", ResourceId=name
            )
            if self.is_tagged(tags.get("TagList")):
                yield leftover("ssm", "parameter", name, item["ARN"])

    def of_others(self) -> Iterator[Item]:
        for arn, tags in self.hinted.items():
            service, kind, name = split_arn(arn)
            if service not in ASKED:
                yield leftover(service, kind, name, arn, tags)


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "tag_key": {"type": "str", "default": "multicompute:deployment", "no_log": False},
            "tag_value": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    leftovers = Search(module).all()
    module.exit_json(changed=False, leftovers=leftovers, count=len(leftovers))


if __name__ == "__main__":
    main()
