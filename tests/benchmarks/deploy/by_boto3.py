#!/usr/bin/env python3
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shared layers by boto3 alone, as much at once as AWS allows: the limit of what a tool can do.

It asks for all that the roles' modules ask for, once, makes and sets what is missing, and waits for
what AWS makes in its own time.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from typing import Any

import boto3
from botocore.exceptions import ClientError

NAME, PORT, ACCOUNT = (os.environ[name] for name in ("DEPLOYMENT", "LISTENER_PORT", "ACCOUNT"))
REGION = os.environ["AWS_REGION"]
BUCKET = f"{NAME}-{ACCOUNT}-{REGION}"
TAGS = {"multicompute:deployment": NAME}
SSL_ONLY = {"Bool": {"aws:SecureTransport": "false"}}
OPEN = [{"CidrIp": "0.0.0.0/0"}]
THREADS = 24
PAUSE = 0.25

Record = dict[str, Any]

_clients: dict[str, Any] = {}
_lock = threading.Lock()
_changes = count()
pool = ThreadPoolExecutor(THREADS)


def client(service: str) -> Any:
    """Clients serve many threads, but are not made by many."""
    with _lock:
        if service not in _clients:
            _clients[service] = boto3.client(service, region_name=REGION)
        return _clients[service]


def after(function: Callable[..., Any], *needs: Any) -> Future[Any]:
    """Calls it with what the futures among `needs` give. Submitted in the order of what needs what,
    so that no thread waits for one that has none."""

    def run() -> Any:
        return function(*(need.result() if isinstance(need, Future) else need for need in needs))

    return pool.submit(run)


def change(function: Callable[..., Any], **parameters: Any) -> Any:
    next(_changes)
    return function(**parameters)


def found(function: Callable[..., Any], missing: str = "", **parameters: Any) -> Record:
    """The answer; an empty one for an error whose code contains `missing`."""
    try:
        return dict(function(**parameters))
    except ClientError as error:
        if missing and missing in error.response["Error"]["Code"]:
            return {}
        raise


def first(records: list[Any]) -> Any:
    return records[0] if records else None


def until(condition: Callable[[], Any]) -> None:
    while not condition():
        time.sleep(PAUSE)


def tag_list(name: str = "") -> list[dict[str, str]]:
    tags = TAGS | ({"Name": name} if name else {})
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def ec2_tags(kind: str, name: str) -> list[Record]:
    return [{"ResourceType": kind, "Tags": tag_list(name)}]


def where(**filters: str) -> list[Record]:
    return [{"Name": key.replace("_", "-"), "Values": [value]} for key, value in filters.items()]


# --- network --------------------------------------------------------------------------------------


def find_vpc() -> Record | None:
    return first(client("ec2").describe_vpcs(Filters=where(**{"tag:Name": NAME}))["Vpcs"])


def vpc() -> str:
    ec2 = client("ec2")
    there = find_vpc()
    if there is None:
        made = change(
            ec2.create_vpc, CidrBlock="10.42.0.0/16", TagSpecifications=ec2_tags("vpc", NAME)
        )
        there = made["Vpc"]
        ec2.get_waiter("vpc_available").wait(VpcIds=[there["VpcId"]], WaiterConfig={"Delay": 1})
    for name, key in (
        ("enableDnsSupport", "EnableDnsSupport"),
        ("enableDnsHostnames", "EnableDnsHostnames"),
    ):
        attribute = ec2.describe_vpc_attribute(VpcId=there["VpcId"], Attribute=name)
        if not attribute[key]["Value"]:
            change(ec2.modify_vpc_attribute, VpcId=there["VpcId"], **{key: {"Value": True}})
    return str(there["VpcId"])


def zones() -> list[str]:
    given = where(zone_type="availability-zone", state="available")
    answer = client("ec2").describe_availability_zones(Filters=given)
    return [zone["ZoneName"] for zone in answer["AvailabilityZones"]]


def subnet(vpc_id: str, names: list[str], kind: str, number: int, block: int) -> str:
    ec2 = client("ec2")
    cidr = f"10.42.{block}.0/24"
    given = where(vpc_id=vpc_id, cidr_block=cidr)
    there = first(ec2.describe_subnets(Filters=given)["Subnets"])
    if there is None:
        made = change(
            ec2.create_subnet,
            VpcId=vpc_id,
            CidrBlock=cidr,
            AvailabilityZone=names[number],
            TagSpecifications=ec2_tags("subnet", f"{NAME}-{kind}-{number + 1}"),
        )
        there = made["Subnet"]
        wait = ec2.get_waiter("subnet_available").wait
        wait(SubnetIds=[there["SubnetId"]], WaiterConfig={"Delay": 1})
    return str(there["SubnetId"])


def find_gateway(vpc_id: str) -> Record | None:
    given = where(**{"attachment.vpc-id": vpc_id})
    return first(client("ec2").describe_internet_gateways(Filters=given)["InternetGateways"])


def gateway(vpc_id: str) -> str:
    ec2 = client("ec2")
    there = find_gateway(vpc_id)
    if there is None:
        made = change(
            ec2.create_internet_gateway, TagSpecifications=ec2_tags("internet-gateway", NAME)
        )
        there = made["InternetGateway"]
        change(
            ec2.attach_internet_gateway,
            InternetGatewayId=there["InternetGatewayId"],
            VpcId=vpc_id,
        )
    return str(there["InternetGatewayId"])


def find_routes(vpc_id: str) -> Record | None:
    given = where(vpc_id=vpc_id, **{"tag:Name": f"{NAME}-public"})
    return first(client("ec2").describe_route_tables(Filters=given)["RouteTables"])


def routes(vpc_id: str, gateway_id: str, *subnets: str) -> None:
    ec2 = client("ec2")
    there = find_routes(vpc_id)
    if there is None:
        given = ec2_tags("route-table", f"{NAME}-public")
        made = change(ec2.create_route_table, VpcId=vpc_id, TagSpecifications=given)
        there = made["RouteTable"]
    table = {"RouteTableId": there["RouteTableId"]}
    if gateway_id not in [route.get("GatewayId") for route in there["Routes"]]:
        to = {"DestinationCidrBlock": "0.0.0.0/0", "GatewayId": gateway_id}
        change(ec2.create_route, **table, **to)
    for subnet_id in {*subnets} - {one.get("SubnetId") for one in there["Associations"]}:
        change(ec2.associate_route_table, **table, SubnetId=subnet_id)


def find_group(vpc_id: str, name: str) -> Record | None:
    given = where(group_name=f"{NAME}-{name}", vpc_id=vpc_id)
    return first(client("ec2").describe_security_groups(Filters=given)["SecurityGroups"])


def group(
    vpc_id: str, name: str, use: str, ports: list[int], source: str | None, outbound: bool = True
) -> str:
    ec2 = client("ec2")
    there = find_group(vpc_id, name)
    if there is None:
        change(
            ec2.create_security_group,
            GroupName=f"{NAME}-{name}",
            Description=use,
            VpcId=vpc_id,
            TagSpecifications=ec2_tags("security-group", f"{NAME}-{name}"),
        )
        # Whole only a moment after it was made: with the rule that lets everything out.
        until(lambda: (find_group(vpc_id, name) or {}).get("IpPermissionsEgress"))
        there = find_group(vpc_id, name)
        assert there
    identity = {"GroupId": there["GroupId"]}
    if not there["IpPermissions"]:
        peers = {"UserIdGroupPairs": [{"GroupId": source}]} if source else {"IpRanges": OPEN}
        rules = [{"IpProtocol": "tcp", "FromPort": port, "ToPort": port, **peers} for port in ports]
        change(ec2.authorize_security_group_ingress, **identity, IpPermissions=rules)
    if there["IpPermissionsEgress"] and not outbound:
        rules = [{"IpProtocol": "-1", "IpRanges": OPEN}]
        change(ec2.revoke_security_group_egress, **identity, IpPermissions=rules)
    return str(there["GroupId"])


# --- storage --------------------------------------------------------------------------------------


def find_file_system() -> Record | None:
    return first(client("efs").describe_file_systems(CreationToken=NAME)["FileSystems"])


def file_system() -> str:
    there = find_file_system()
    if there is None:
        there = change(
            client("efs").create_file_system,
            CreationToken=NAME,
            Encrypted=True,
            PerformanceMode="generalPurpose",
            ThroughputMode="bursting",
            Tags=tag_list(NAME),
        )
        until(lambda: (find_file_system() or {}).get("LifeCycleState") == "available")
    return str(there["FileSystemId"])


def policy(fs: str) -> None:
    efs = client("efs")
    if not found(efs.describe_file_system_policy, "PolicyNotFound", FileSystemId=fs):
        deny = {"Sid": "OnlyEncrypted", "Effect": "Deny", "Principal": {"AWS": "*"}}
        statement = deny | {"Action": "*", "Resource": "*", "Condition": SSL_ONLY}
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        change(efs.put_file_system_policy, FileSystemId=fs, Policy=document)


def mount_targets(fs: str, group_id: str, *subnets: str) -> None:
    efs = client("efs")

    def there() -> list[Record]:
        return list(efs.describe_mount_targets(FileSystemId=fs)["MountTargets"])

    targets = there()
    for target in targets:
        identity = {"MountTargetId": target["MountTargetId"]}
        groups = efs.describe_mount_target_security_groups(**identity)["SecurityGroups"]
        if groups != [group_id]:
            given = {"SecurityGroups": [group_id]}
            change(efs.modify_mount_target_security_groups, **identity, **given)
    missing = {*subnets} - {target["SubnetId"] for target in targets}
    for subnet_id in missing:
        given = {"SubnetId": subnet_id, "SecurityGroups": [group_id]}
        change(efs.create_mount_target, FileSystemId=fs, **given)
    if missing:
        until(lambda: {target["LifeCycleState"] for target in there()} == {"available"})


def access_point(fs: str, name: str, user: int) -> None:
    efs = client("efs")

    def there() -> Record | None:
        points = efs.describe_access_points(FileSystemId=fs)["AccessPoints"]
        return first([point for point in points if point.get("Name") == f"{NAME}-{name}"])

    if there() is None:
        owner = {"OwnerUid": 1000, "OwnerGid": 1000, "Permissions": "0755"}
        change(
            efs.create_access_point,
            ClientToken=f"{NAME}-{name}",
            FileSystemId=fs,
            PosixUser={"Uid": user, "Gid": user},
            RootDirectory={"Path": "/app", "CreationInfo": owner},
            Tags=tag_list(f"{NAME}-{name}"),
        )
        until(lambda: (there() or {}).get("LifeCycleState") == "available")


def bucket() -> None:
    s3 = client("s3")
    if not found(s3.head_bucket, "404", Bucket=BUCKET):
        change(s3.create_bucket, Bucket=BUCKET)
    # The roles leave these three as they are, but their module reads them.
    for name, missing in (
        ("encryption", "ServerSideEncryption"),
        ("versioning", ""),
        ("lifecycle_configuration", "NoSuchLifecycle"),
    ):
        found(getattr(s3, f"get_bucket_{name}"), missing, Bucket=BUCKET)
    if not found(s3.get_public_access_block, "NoSuchPublicAccessBlock", Bucket=BUCKET):
        settings = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy")
        block = dict.fromkeys((*settings, "RestrictPublicBuckets"), True)
        change(s3.put_public_access_block, Bucket=BUCKET, PublicAccessBlockConfiguration=block)
    if not found(s3.get_bucket_policy, "NoSuchBucketPolicy", Bucket=BUCKET):
        arn = f"arn:aws:s3:::{BUCKET}"
        deny = {"Sid": "DenyInsecureTransport", "Effect": "Deny", "Principal": "*"}
        statement = deny | {"Action": "s3:*", "Resource": [arn, f"{arn}/*"], "Condition": SSL_ONLY}
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        change(s3.put_bucket_policy, Bucket=BUCKET, Policy=document)
    if not found(s3.get_bucket_tagging, "NoSuchTagSet", Bucket=BUCKET):
        change(s3.put_bucket_tagging, Bucket=BUCKET, Tagging={"TagSet": tag_list()})


# --- registry -------------------------------------------------------------------------------------


def repository(kind: str) -> None:
    ecr = client("ecr")
    name = f"{NAME}/{kind}"
    there = found(ecr.describe_repositories, "RepositoryNotFound", repositoryNames=[name])
    if there:
        ecr.list_tags_for_resource(resourceArn=there["repositories"][0]["repositoryArn"])
    else:
        change(
            ecr.create_repository,
            repositoryName=name,
            imageScanningConfiguration={"scanOnPush": True},
            tags=tag_list(),
        )
    if not found(ecr.get_lifecycle_policy, "LifecyclePolicyNotFound", repositoryName=name):
        limit = {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 10}
        rule = {"rulePriority": 1, "selection": limit, "action": {"type": "expire"}}
        document = json.dumps({"rules": [rule]})
        change(ecr.put_lifecycle_policy, repositoryName=name, lifecyclePolicyText=document)


def find_cluster() -> Record | None:
    clusters = client("ecs").describe_clusters(clusters=[NAME])["clusters"]
    return first([one for one in clusters if one["status"] == "ACTIVE"])


def cluster() -> None:
    ecs = client("ecs")
    if there := find_cluster():
        ecs.list_tags_for_resource(resourceArn=there["clusterArn"])
    else:
        tags = [{"key": key, "value": value} for key, value in TAGS.items()]
        change(ecs.create_cluster, clusterName=NAME, tags=tags)


# --- load balancer --------------------------------------------------------------------------------


def find_balancer() -> Record | None:
    answer = found(client("elbv2").describe_load_balancers, "LoadBalancerNotFound", Names=[NAME])
    return first(answer.get("LoadBalancers", []))


def balancer(group_id: str, _gateway: str, *subnets: str) -> str:
    elb = client("elbv2")
    there = find_balancer()
    if there is None:
        made = change(
            elb.create_load_balancer,
            Name=NAME,
            Subnets=[*subnets],
            SecurityGroups=[group_id],
            Scheme="internet-facing",
            Tags=tag_list(),
        )
        there = made["LoadBalancers"][0]
        wait = elb.get_waiter("load_balancer_available").wait
        wait(Names=[NAME], WaiterConfig={"Delay": 1})
    arn = there["LoadBalancerArn"]
    elb.describe_load_balancer_attributes(LoadBalancerArn=arn)
    elb.describe_tags(ResourceArns=[arn])
    return str(arn)


def listener(balancer_arn: str) -> None:
    elb = client("elbv2")
    listeners = elb.describe_listeners(LoadBalancerArn=balancer_arn)["Listeners"]
    if listeners:
        arn = listeners[0]["ListenerArn"]
        elb.describe_rules(ListenerArn=arn)
        elb.describe_tags(ResourceArns=[arn])
    else:
        answer = {"StatusCode": "503", "ContentType": "text/plain", "MessageBody": "none"}
        change(
            elb.create_listener,
            LoadBalancerArn=balancer_arn,
            Port=int(PORT),
            Protocol="HTTP",
            DefaultActions=[{"Type": "fixed-response", "FixedResponseConfig": answer}],
            Tags=tag_list(),
        )


def present() -> Iterator[Future[Any]]:
    network, names = after(vpc), after(zones)
    share = after(file_system)
    yield from (after(repository, kind) for kind in ("runtime", "publisher"))
    yield from (after(cluster), after(bucket), after(policy, share))
    yield from (
        after(access_point, share, *who) for who in (("servers", 1001), ("publisher", 1000))
    )
    public = [after(subnet, network, names, "public", n, block) for n, block in enumerate((0, 1))]
    private = [
        after(subnet, network, names, "private", n, block) for n, block in enumerate((16, 17))
    ]
    out = after(gateway, network)
    yield after(routes, network, out, *public)
    clients = after(
        group, network, "load-balancer", "Clients to the load balancer", [int(PORT)], None
    )
    servers = after(
        group, network, "servers", "Load balancer to the servers", [8000, 8001], clients
    )
    storage = after(group, network, "storage", "Servers to the file system", [2049], servers, False)
    yield after(mount_targets, share, storage, *private)
    yield after(listener, after(balancer, clients, out, *public))


# --- the way back ---------------------------------------------------------------------------------


def no_publisher() -> None:
    """Nothing here made one, but the roles look."""
    family = f"{NAME}-publisher"
    for status in ("ACTIVE", "INACTIVE"):
        listed = client("ecs").list_task_definitions(familyPrefix=family, status=status)
        assert not listed["taskDefinitionArns"]
    for role in (family, f"{family}-execution"):
        assert not found(client("iam").get_role, "NoSuchEntity", RoleName=role)
    client("logs").describe_log_groups(logGroupNamePrefix=f"/{NAME}/publisher")


def no_balancer() -> None:
    elb = client("elbv2")
    if there := find_balancer():
        arn = there["LoadBalancerArn"]
        for one in elb.describe_listeners(LoadBalancerArn=arn)["Listeners"]:
            change(elb.delete_listener, ListenerArn=one["ListenerArn"])
        change(elb.delete_load_balancer, LoadBalancerArn=arn)
        until(lambda: not find_balancer())


def no_repository(kind: str) -> None:
    ecr = client("ecr")
    name = f"{NAME}/{kind}"
    if found(ecr.describe_repositories, "RepositoryNotFound", repositoryNames=[name]):
        change(ecr.delete_repository, repositoryName=name, force=True)


def no_cluster() -> None:
    if find_cluster():
        change(client("ecs").delete_cluster, cluster=NAME)


def no_bucket() -> None:
    s3 = client("s3")
    if found(s3.head_bucket, "404", Bucket=BUCKET):
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=BUCKET):
            assert not page.get("Versions"), "nothing here put an object"
        change(s3.delete_bucket, Bucket=BUCKET)


def no_mount_targets() -> str | None:
    efs = client("efs")
    there = find_file_system()
    if there is None:
        return None
    identity = {"FileSystemId": there["FileSystemId"]}
    for point in efs.describe_access_points(**identity)["AccessPoints"]:
        change(efs.delete_access_point, AccessPointId=point["AccessPointId"])
    for target in efs.describe_mount_targets(**identity)["MountTargets"]:
        change(efs.delete_mount_target, MountTargetId=target["MountTargetId"])
    until(lambda: not efs.describe_mount_targets(**identity)["MountTargets"])
    return str(there["FileSystemId"])


def no_file_system(fs: str | None) -> None:
    if fs:
        change(client("efs").delete_file_system, FileSystemId=fs)
        until(lambda: not find_file_system())


def no_groups(vpc_id: str | None, *_users: Any) -> None:
    # Each is named in a rule of the one before.
    for name in ("storage", "servers", "load-balancer"):
        if vpc_id and (there := find_group(vpc_id, name)):
            change(client("ec2").delete_security_group, GroupId=there["GroupId"])


def no_routes(vpc_id: str | None) -> None:
    ec2 = client("ec2")
    if vpc_id and (there := find_routes(vpc_id)):
        for one in there["Associations"]:
            given = {"AssociationId": one["RouteTableAssociationId"]}
            change(ec2.disassociate_route_table, **given)
        change(ec2.delete_route_table, RouteTableId=there["RouteTableId"])


def no_gateway(vpc_id: str | None, *_users: Any) -> None:
    ec2 = client("ec2")
    if vpc_id and (there := find_gateway(vpc_id)):
        identity = {"InternetGatewayId": there["InternetGatewayId"]}
        change(ec2.detach_internet_gateway, **identity, VpcId=vpc_id)
        change(ec2.delete_internet_gateway, **identity)


def no_subnet(vpc_id: str | None, block: int, *_users: Any) -> None:
    ec2 = client("ec2")
    given = where(vpc_id=vpc_id or "", cidr_block=f"10.42.{block}.0/24")
    if vpc_id and (there := first(ec2.describe_subnets(Filters=given)["Subnets"])):
        change(ec2.delete_subnet, SubnetId=there["SubnetId"])


def no_vpc(vpc_id: str | None, *_inside: Any) -> None:
    if vpc_id:
        change(client("ec2").delete_vpc, VpcId=vpc_id)


def absent() -> Iterator[Future[Any]]:
    share, balanced = after(no_mount_targets), after(no_balancer)
    network = after(lambda: (find_vpc() or {}).get("VpcId"))
    yield from (after(no_publisher), after(no_cluster), after(no_bucket))
    yield from (after(no_repository, kind) for kind in ("runtime", "publisher"))
    yield after(no_file_system, share)
    routed = after(no_routes, network)
    # Load balancer and mount targets stand in them.
    inside = [
        after(no_groups, network, share, balanced),
        after(no_gateway, network, balanced, routed),
        *(after(no_subnet, network, block, balanced, routed) for block in (0, 1)),
        *(after(no_subnet, network, block, share) for block in (16, 17)),
    ]
    yield after(no_vpc, network, *inside)


def main() -> None:
    with pool:
        for future in [*{"present": present, "absent": absent}[sys.argv[1]]()]:
            future.result()
    print(f"changed={next(_changes)}")


if __name__ == "__main__":
    main()
