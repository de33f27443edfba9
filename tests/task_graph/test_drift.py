# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is remembered never hides what has changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.multicompute.spin.tests.local_cloud.conftest import LocalCloud

from .conftest import Place, make_place
from .layers import Deployment, deployment

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
    return [rule["FromPort"] for rule in _group(client)["IpPermissions"]] == [8000]


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


@pytest.mark.parametrize(
    ("drift", "found_by", "healed"),
    [
        (vpc_attribute, "Create the VPC", vpc_attribute_healed),
        (subnet_tag, "Create the private subnet of zone 2", subnet_tag_healed),
        (gateway, "Create the internet gateway", gateway_healed),
        (route, "Route the public subnets to the internet", gateway_healed),
        (rule, "Let the load balancer call the servers", rule_healed),
        (policy, "Create the file system with a mount target in each zone", policy_healed),
        (
            mount_target,
            "Create the file system with a mount target in each zone",
            lambda client: len(_targets(client)) == 2,
        ),
        (
            access_point,
            "Create the access point of the servers",
            lambda client: len(_points(client)) == 2,
        ),
        (bucket, "Create the bucket for release bundles", _bucket),
        (
            repository,
            "Create the repository of the runtime image",
            lambda client: _repositories(client) == 2,
        ),
        (lifecycle, "Create the repository of the publisher image", lifecycle_healed),
        (cluster, "Create the cluster", cluster_healed),
        (cluster_tag, "Tag the cluster", cluster_healed),
        (balancer, "Create the load balancer", _listeners),
        (listener, "Create the listener", _listeners),
    ],
)
def test_drift_is_found_and_healed(
    layers: Deployment,
    drift: Callable[[Client], None],
    found_by: str,
    healed: Callable[[Client], Any],
) -> None:
    if found_by not in _remembered_tasks(layers.place):
        # The test before changed the same resource.
        layers.play("settled", "present")
    assert found_by in _remembered_tasks(layers.place)
    drift(layers.client)
    tasks = _tasks(layers, "healed")
    assert tasks[found_by]["state"] == "changed"
    # What has nothing to do with it did not run.
    assert tasks["Find the zones"]["remembered"]
    assert healed(layers.client)


@pytest.mark.parametrize("damage", [b"", b"\x00 no text \xff", None])
def test_a_lost_memory_costs_time_only(layers: Deployment, damage: bytes | None) -> None:
    before = _tasks(layers, "before")
    for file in layers.place.memory_files():
        if damage is None:
            file.write_bytes(file.read_bytes()[:-100])
        else:
            file.write_bytes(damage)
    tasks = _tasks(layers, "after")
    assert not any(task["remembered"] for task in tasks.values())
    assert {task["state"] for task in tasks.values()} == {"ok"}
    assert layers.kept["after"] == layers.kept["before"] and before.keys() == tasks.keys()


def test_two_runs_at_once_are_both_right(layers: Deployment) -> None:
    policy(layers.client)
    processes = [layers.place.start(playbook="present.yml") for _ in range(2)]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert policy_healed(layers.client)
    assert {task["state"] for task in _tasks(layers, "after two").values()} == {"ok"}
