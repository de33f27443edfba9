# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is remembered never hides what has changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.multicompute.spin.tests.local_cloud.conftest import LocalCloud

from .conftest import Place
from .layers import REGION, Deployment, deployment

Client = Callable[[str], Any]
NAME = "drift-layers"


@pytest.fixture(scope="module")
def layers(tmp_path_factory: pytest.TempPathFactory, local_cloud: LocalCloud) -> Deployment:
    found = deployment(tmp_path_factory.mktemp("layers"), local_cloud, "graph", NAME)
    found.play("made", "present")
    assert "ok" in found.play("found", "present").graph["counts"]
    return found


def _tasks(layers: Deployment, title: str) -> dict[str, dict[str, Any]]:
    tasks = layers.play(title, "present").graph["tasks"]
    return {task["name"].partition(" : ")[2]: task for task in tasks}


def _remembered_tasks(place: Place) -> set[str]:
    (content,) = (json.loads(part.partition("\n")[2]) for part in [place.memory()])
    return {name.partition(" : ")[2] for name in content}


def test_all_that_is_unchanged_is_remembered(layers: Deployment) -> None:
    before = layers.kept["found"]
    tasks = _tasks(layers, "remembered")
    plain = [name for name, task in tasks.items() if not task["remembered"]]
    assert all(name.startswith("Validating") for name in plain) and len(tasks) > 20
    assert {task["state"] for task in tasks.values()} == {"ok"}
    # And it has the same results.
    assert layers.kept["remembered"] == before


def _vpc(client: Client) -> str:
    tag = {"Name": "tag:Name", "Values": [NAME]}
    return client("ec2").describe_vpcs(Filters=[tag])["Vpcs"][0]["VpcId"]


def _named(client: Client, kind: str, operation: str, name: str) -> Any:
    tag = {"Name": "tag:Name", "Values": [f"{NAME}-{name}" if name else NAME]}
    return getattr(client("ec2"), f"describe_{operation}")(Filters=[tag])[kind]


def _system(client: Client) -> str:
    systems = client("efs").describe_file_systems()["FileSystems"]
    return next(system["FileSystemId"] for system in systems if system.get("Name") == NAME)


def _bucket(client: Client) -> str:
    buckets = client("s3").list_buckets()["Buckets"]
    return next(bucket["Name"] for bucket in buckets if bucket["Name"].startswith(NAME))


def _balancer(client: Client) -> str:
    return client("elbv2").describe_load_balancers(Names=[NAME])["LoadBalancers"][0][
        "LoadBalancerArn"
    ]


def vpc_attribute(client: Client) -> None:
    client("ec2").modify_vpc_attribute(VpcId=_vpc(client), EnableDnsHostnames={"Value": False})


def vpc_attribute_healed(client: Client) -> bool:
    asked = {"VpcId": _vpc(client), "Attribute": "enableDnsHostnames"}
    return client("ec2").describe_vpc_attribute(**asked)["EnableDnsHostnames"]["Value"]


def subnet_tag(client: Client) -> None:
    (subnet,) = _named(client, "Subnets", "subnets", "private-2")
    tag = {"Key": "multicompute:deployment"}
    client("ec2").delete_tags(Resources=[subnet["SubnetId"]], Tags=[tag])


def subnet_tag_healed(client: Client) -> bool:
    (subnet,) = _named(client, "Subnets", "subnets", "private-2")
    return {"Key": "multicompute:deployment", "Value": NAME} in subnet["Tags"]


def gateway(client: Client) -> None:
    (found,) = _named(client, "InternetGateways", "internet_gateways", "")
    which = {"InternetGatewayId": found["InternetGatewayId"]}
    client("ec2").detach_internet_gateway(**which, VpcId=_vpc(client))
    client("ec2").delete_internet_gateway(**which)


def gateway_healed(client: Client) -> bool:
    found = _named(client, "InternetGateways", "internet_gateways", "")
    (table,) = _named(client, "RouteTables", "route_tables", "public")
    targets = [route.get("GatewayId") for route in table["Routes"]]
    return len(found) == 1 and found[0]["InternetGatewayId"] in targets


def route(client: Client) -> None:
    (table,) = _named(client, "RouteTables", "route_tables", "public")
    client("ec2").delete_route(RouteTableId=table["RouteTableId"], DestinationCidrBlock="0.0.0.0/0")


def _group(client: Client) -> dict[str, Any]:
    name = {"Name": "group-name", "Values": [f"{NAME}-servers"]}
    return client("ec2").describe_security_groups(Filters=[name])["SecurityGroups"][0]


def rule(client: Client) -> None:
    group = _group(client)
    client("ec2").revoke_security_group_ingress(
        GroupId=group["GroupId"], IpPermissions=group["IpPermissions"]
    )


def rule_healed(client: Client) -> bool:
    found = {rule["FromPort"] for rule in _group(client)["IpPermissions"]}
    return found == {8000, 8001, 8002, 8003}


def policy(client: Client) -> None:
    client("efs").delete_file_system_policy(FileSystemId=_system(client))


def policy_healed(client: Client) -> bool:
    return (
        "Deny" in client("efs").describe_file_system_policy(FileSystemId=_system(client))["Policy"]
    )


def _targets(client: Client) -> list[Any]:
    return client("efs").describe_mount_targets(FileSystemId=_system(client))["MountTargets"]


def mount_target(client: Client) -> None:
    client("efs").delete_mount_target(MountTargetId=_targets(client)[0]["MountTargetId"])


def _points(client: Client) -> list[Any]:
    return client("efs").describe_access_points(FileSystemId=_system(client))["AccessPoints"]


def access_point(client: Client) -> None:
    (servers,) = (point for point in _points(client) if point["Name"] == f"{NAME}-servers")
    client("efs").delete_access_point(AccessPointId=servers["AccessPointId"])


def bucket(client: Client) -> None:
    client("s3").delete_bucket(Bucket=_bucket(client))


def repository(client: Client) -> None:
    client("ecr").delete_repository(repositoryName=f"{NAME}/runtime", force=True)


def lifecycle(client: Client) -> None:
    client("ecr").delete_lifecycle_policy(repositoryName=f"{NAME}/publisher")


def lifecycle_healed(client: Client) -> bool:
    return bool(client("ecr").get_lifecycle_policy(repositoryName=f"{NAME}/publisher"))


def _repositories(client: Client) -> int:
    names = [f"{NAME}/runtime", f"{NAME}/publisher"]
    return len(client("ecr").describe_repositories(repositoryNames=names)["repositories"])


def cluster(client: Client) -> None:
    client("ecs").delete_cluster(cluster=NAME)


def cluster_healed(client: Client) -> bool:
    (found,) = client("ecs").describe_clusters(clusters=[NAME], include=["TAGS"])["clusters"]
    return found["status"] == "ACTIVE" and bool(found["tags"])


def cluster_tag(client: Client) -> None:
    (found,) = client("ecs").describe_clusters(clusters=[NAME])["clusters"]
    keys = ["multicompute:deployment"]
    client("ecs").untag_resource(resourceArn=found["clusterArn"], tagKeys=keys)


def balancer(client: Client) -> None:
    client("elbv2").delete_load_balancer(LoadBalancerArn=_balancer(client))


def _listeners(client: Client) -> list[Any]:
    return client("elbv2").describe_listeners(LoadBalancerArn=_balancer(client))["Listeners"]


def listener(client: Client) -> None:
    client("elbv2").delete_listener(ListenerArn=_listeners(client)[0]["ListenerArn"])


Drift = tuple[Callable[[Client], None], str, Callable[[Client], Any]]
SYSTEM = "Create the file system with a mount target in each zone"
# Each with the task that finds it, and what is true when it is healed. Those below one name come at
# once, and do not touch the task of that name.
DRIFTS: dict[str, list[Drift]] = {
    "Create the bucket for release bundles": [
        (vpc_attribute, "Create the VPC", vpc_attribute_healed),
        (gateway, "Create the internet gateway", gateway_healed),
        (policy, SYSTEM, policy_healed),
        (lifecycle, "Create the repository of the publisher image", lifecycle_healed),
        (cluster_tag, "Tag the cluster", cluster_healed),
        (listener, "Create the listener", _listeners),
    ],
    "Find the zones": [
        (subnet_tag, "Create the private subnet of zone 2", subnet_tag_healed),
        (rule, "Let the load balancer call the servers", rule_healed),
        (access_point, "Create the access point of the servers", lambda c: len(_points(c)) == 2),
        (bucket, "Create the bucket for release bundles", _bucket),
        (cluster, "Create the cluster", cluster_healed),
    ],
    "Create the cluster": [
        (route, "Route the public subnets to the internet", gateway_healed),
        (mount_target, SYSTEM, lambda c: len(_targets(c)) == 2),
        (
            repository,
            "Create the repository of the runtime image",
            lambda c: _repositories(c) == 2,
        ),
        (balancer, "Create the load balancer", _listeners),
    ],
}


@pytest.mark.parametrize("untouched", DRIFTS)
def test_drift_is_found_and_healed(layers: Deployment, untouched: str) -> None:
    layers.play("settled", "present")
    remembered = _remembered_tasks(layers.place)
    for drift, found_by, healed in DRIFTS[untouched]:
        assert found_by in remembered and healed(layers.client)
        drift(layers.client)
    tasks = _tasks(layers, "healed")
    for _drift, found_by, healed in DRIFTS[untouched]:
        assert tasks[found_by]["state"] == "changed"
        assert healed(layers.client)
    # What has nothing to do with it did not run.
    assert tasks[untouched]["remembered"]


def test_a_broken_memory_costs_time_only(layers: Deployment) -> None:
    layers.play("before", "present")
    for file in layers.place.memory_files():
        file.write_bytes(file.read_bytes()[:-100])
    tasks = _tasks(layers, "after")
    assert not any(task["remembered"] for task in tasks.values())
    assert {task["state"] for task in tasks.values()} == {"ok"}
    assert layers.kept["after"] == layers.kept["before"]


def test_two_runs_at_once_are_both_right(layers: Deployment) -> None:
    policy(layers.client)
    processes = [layers.place.start(playbook="present.yml") for _ in range(2)]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert policy_healed(layers.client)
    assert {task["state"] for task in _tasks(layers, "after two").values()} == {"ok"}


READS = """
- {name: Who, amazon.aws.aws_caller_info: {}, register: who}
- {name: Zones, amazon.aws.aws_az_info: {}, register: zones}
- {name: Secret, amazon.aws.aws_caller_info: {}, no_log: true}
"""
PUT = "- {name: Put, test.reads.put: {src: content}}"
MODULE = """#!/usr/bin/python
import boto3
from ansible.module_utils.basic import AnsibleModule

def main():
    module = AnsibleModule({"src": {}})
    content = open(module.params["src"]).read()
    client = boto3.client("s3")
    old = client.head_object(Bucket="reads", Key="o")["Metadata"]
    if old["content"] == content:
        module.exit_json(changed=False)
    client.put_object(Bucket="reads", Key="o", Metadata={"content": content})
    module.exit_json(changed=True)
"""
PLAY = """
- hosts: all
  gather_facts: false
  module_defaults: {group/aws: {region: "{{ region | default(omit) }}"}}
  tasks:
    - multicompute.spin.task_graph: {file: tasks.yml}
      register: graph
    - debug: {msg: {tasks: "{{ graph.tasks }}", account: "{{ who.account | default }}",
        region: "{{ zones.availability_zones[0].region_name | default }}"}}
"""


@pytest.fixture
def reads(place: Place, layers: Deployment) -> Callable[..., tuple[dict[str, str], str, str]]:
    """States of the tasks, account and region of a run of this file."""

    def run(tasks: str, *options: str, **environment: str) -> tuple[dict[str, str], str, str]:
        place.write(tasks=tasks, play=PLAY)
        place.environment = {**layers.place.environment, **environment}
        said = place.run(*options).events[-1]["result"]["msg"]
        states = {
            task["name"]: "remembered" if task["remembered"] else task["state"]
            for task in said["tasks"]
        }
        return states, said["account"], said["region"]

    return run


def test_another_region_or_account_is_asked_anew(reads: Any, place: Place) -> None:
    ran = {"Who": "ok", "Zones": "ok", "Secret": "ok"}
    assert reads(READS) == (ran, "000000000000", REGION)
    assert "secret-of-layers" not in place.memory() and "Secret" not in place.memory()
    remembered = {**ran, "Who": "remembered", "Zones": "remembered"}
    assert reads(READS) == (remembered, "000000000000", REGION)
    assert reads(READS, AWS_REGION="eu-west-1") == (ran, "000000000000", "eu-west-1")
    account = "222222222222"
    assert reads(READS, AWS_ACCESS_KEY_ID=account) == (ran, account, REGION)
    # By the defaults of an action group.
    assert reads(READS, "-e", "region=ap-south-1") == (ran, "000000000000", "ap-south-1")


APART = """
- {name: Defaults, amazon.aws.aws_caller_info: {}, register: who}
- name: Environment
  amazon.aws.aws_caller_info:
  environment: {AWS_ACCESS_KEY_ID: "333333333333"}
  register: by_environment
- name: Arguments
  amazon.aws.aws_caller_info: {access_key: "444444444444", secret_key: secret-of-task}
  register: by_arguments
- {name: Zones, amazon.aws.aws_az_info: {region: eu-north-1}, register: zones}
- name: Said
  ansible.builtin.assert:
    that:
      - who.account == "000000000000"
      - by_environment.account == "333333333333"
      - by_arguments.account == "444444444444"
"""


def test_tasks_of_one_run_ask_each_whom_it_says(reads: Any) -> None:
    for _ in range(2):
        states, account, region = reads(APART)
        assert set(states.values()) <= {"ok", "remembered"}, states
        assert (account, region) == ("000000000000", "eu-north-1")


def test_a_file_that_a_module_reads_and_its_code_are_looked_at(
    reads: Any, place: Place, layers: Deployment
) -> None:
    modules = place.folder / "collections/ansible_collections/test/reads/plugins/modules"
    modules.mkdir(parents=True)
    (modules / "put.py").write_text(MODULE)
    content = place.folder / "content"
    content.write_text("first")
    client = layers.client("s3")
    client.create_bucket(Bucket="reads")
    client.put_object(Bucket="reads", Key="o", Metadata={"content": "none"})
    states = [reads(PUT)[0]["Put"] for _ in range(3)]
    assert states == ["changed", "ok", "remembered"]
    content.write_text("other")
    assert reads(PUT)[0]["Put"] == "changed"
    assert client.head_object(Bucket="reads", Key="o")["Metadata"] == {"content": "other"}
    assert [reads(PUT)[0]["Put"] for _ in range(2)] == ["ok", "remembered"]
    (modules / "put.py").write_text(MODULE.replace("changed=False", "changed=None is None"))
    assert reads(PUT)[0]["Put"] == "changed"
