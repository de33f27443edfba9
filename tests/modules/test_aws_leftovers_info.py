# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from typing import Any

from ansible_collections.multicompute.spin.plugins.modules import aws_leftovers_info as module
from ansible_collections.multicompute.spin.tests.unit.plugins._stub import run_module

KEY = "multicompute:deployment"
TRUST = json.dumps({"Version": "2012-10-17", "Statement": []})


def tags(value: str = "demo") -> list[dict[str, str]]:
    return [{"Key": "other", "Value": "x"}, {"Key": KEY, "Value": value}]


def spec(kind: str, value: str = "demo") -> list[dict[str, Any]]:
    return [{"ResourceType": kind, "Tags": [*tags(value), {"Key": "Name", "Value": f"my {kind}"}]}]


def look(value: str = "demo") -> dict[str, dict[str, Any]]:
    """Leftovers by "service type"."""
    result = run_module(module, {"tag_value": value})
    assert not result.get("failed"), result["msg"]
    assert result["changed"] is False
    assert result["count"] == len(result["leftovers"])
    return {f"{item['service']} {item['type']}": item for item in result["leftovers"]}


def test_nothing_is_left_in_an_empty_account(cloud: Any) -> None:
    assert look() == {}


def test_network(cloud: Any) -> None:
    ec2 = cloud("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16", TagSpecifications=spec("vpc"))["Vpc"]["VpcId"]
    other = ec2.create_vpc(CidrBlock="10.1.0.0/16", TagSpecifications=spec("vpc", "demo-2"))
    subnet = ec2.create_subnet(
        VpcId=vpc, CidrBlock="10.0.0.0/24", TagSpecifications=spec("subnet")
    )["Subnet"]["SubnetId"]
    group = ec2.create_security_group(
        GroupName="demo", Description="x", VpcId=vpc, TagSpecifications=spec("security-group")
    )["GroupId"]
    gateway = ec2.create_internet_gateway(TagSpecifications=spec("internet-gateway"))
    table = ec2.create_route_table(VpcId=vpc, TagSpecifications=spec("route-table"))
    address = ec2.allocate_address(Domain="vpc", TagSpecifications=spec("elastic-ip"))
    interface = ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]
    found = look()
    assert {kind: item["id"] for kind, item in found.items()} == {
        "ec2 vpc": vpc,
        "ec2 subnet": subnet,
        "ec2 security-group": group,
        "ec2 internet-gateway": gateway["InternetGateway"]["InternetGatewayId"],
        "ec2 route-table": table["RouteTable"]["RouteTableId"],
        "ec2 elastic-ip": address["AllocationId"],
        "ec2 network-interface": interface["NetworkInterfaceId"],
    }
    account = cloud("sts").get_caller_identity()["Account"]
    assert found["ec2 vpc"] == {
        "service": "ec2",
        "type": "vpc",
        "id": vpc,
        "arn": f"arn:aws:ec2:eu-central-1:{account}:vpc/{vpc}",
        "name": "my vpc",
    }
    assert set(look("demo-2")) == {"ec2 vpc"}
    assert look("demo-2")["ec2 vpc"]["id"] == other["Vpc"]["VpcId"]
    ec2.delete_network_interface(NetworkInterfaceId=interface["NetworkInterfaceId"])
    ec2.release_address(AllocationId=address["AllocationId"])
    assert "ec2 network-interface" not in look()
    assert "ec2 elastic-ip" not in look()


def test_storage_and_registry(cloud: Any) -> None:
    efs = cloud("efs")
    system = efs.create_file_system(CreationToken="x", Tags=tags())["FileSystemId"]
    efs.create_file_system(CreationToken="y", Tags=tags("demo-2"))
    point = efs.create_access_point(FileSystemId=system, Tags=tags())["AccessPointId"]
    cloud("ecr").create_repository(repositoryName="demo/runtime", tags=tags())
    cloud("ecr").create_repository(repositoryName="demo/foreign")
    s3 = cloud("s3")
    for name in ("demo-bundles", "demo-untagged", "foreign"):
        s3.create_bucket(
            Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
        )
    s3.put_bucket_tagging(Bucket="demo-bundles", Tagging={"TagSet": tags()})
    cloud("ssm").put_parameter(Name="/demo/x", Value="x", Type="String", Tags=tags())
    cloud("ssm").put_parameter(Name="/demo/y", Value="x", Type="String")
    cloud("logs").create_log_group(logGroupName="/demo/ecs", tags={KEY: "demo"})
    cloud("logs").create_log_group(logGroupName="/demo/foreign")
    assert {kind: item["id"] for kind, item in look().items()} == {
        "elasticfilesystem file-system": system,
        "elasticfilesystem access-point": point,
        "ecr repository": "demo/runtime",
        "s3 bucket": "demo-bundles",
        "ssm parameter": "/demo/x",
        "logs log-group": "/demo/ecs",
    }
    efs.delete_access_point(AccessPointId=point)
    efs.delete_file_system(FileSystemId=system)
    assert not [kind for kind in look() if "filesystem" in kind]


def test_compute(cloud: Any) -> None:
    ecs = cloud("ecs")
    own = [{"key": KEY, "value": "demo"}]
    ecs.create_cluster(clusterName="demo", tags=own)
    ecs.create_cluster(clusterName="demo-foreign")
    container = [{"name": "app", "image": "x"}]
    for family in ("demo-ecs", "other"):
        ecs.register_task_definition(family=family, containerDefinitions=container, tags=own)
    ecs.create_service(
        cluster="demo", serviceName="app", taskDefinition="demo-ecs", desiredCount=0, tags=own
    )
    iam = cloud("iam")
    role = iam.create_role(RoleName="demo-fn", AssumeRolePolicyDocument=TRUST, Tags=tags())["Role"]
    iam.create_role(RoleName="demo-foreign", AssumeRolePolicyDocument=TRUST)
    iam.create_instance_profile(InstanceProfileName="demo-ec2", Tags=tags())
    cloud("lambda").create_function(
        FunctionName="demo-fn",
        Role=role["Arn"],
        PackageType="Image",
        Code={"ImageUri": "x"},
        Tags={KEY: "demo"},
    )
    ids = {kind: item["id"] for kind, item in look().items()}
    assert ids.pop("ecs task-definition") in ("demo-ecs:1", "other:1")
    assert ids == {
        "ecs cluster": "demo",
        "ecs service": "app",
        "iam role": "demo-fn",
        "iam instance-profile": "demo-ec2",
        "lambda function": "demo-fn",
    }
    ecs.delete_service(cluster="demo", service="app", force=True)
    ecs.delete_cluster(cluster="demo")
    for family in ("demo-ecs", "other"):
        ecs.deregister_task_definition(taskDefinition=f"{family}:1")
    assert not [kind for kind in look() if kind.startswith("ecs")]


def test_load_balancing_and_monitoring(cloud: Any) -> None:
    ec2 = cloud("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    zones = ("eu-central-1a", "eu-central-1b")
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{n}.0/24", AvailabilityZone=zone)["Subnet"]
        for n, zone in enumerate(zones)
    ]
    elb = cloud("elbv2")
    ids = [subnet["SubnetId"] for subnet in subnets]
    elb.create_load_balancer(Name="demo", Subnets=ids, Tags=tags())
    elb.create_load_balancer(Name="demo-foreign", Subnets=ids)
    for number in range(25):
        elb.create_target_group(Name=f"demo-{number}", TargetType="lambda", Tags=tags())
    watch = cloud("cloudwatch")
    alarm = {
        "ComparisonOperator": "GreaterThanThreshold",
        "EvaluationPeriods": 1,
        "MetricName": "x",
        "Namespace": "x",
        "Period": 60,
        "Statistic": "Sum",
        "Threshold": 1,
    }
    watch.put_metric_alarm(AlarmName="demo-errors", Tags=tags(), **alarm)
    watch.put_metric_alarm(AlarmName="demo-foreign", **alarm)
    for name in ("demo", "demonstration"):
        watch.put_dashboard(DashboardName=name, DashboardBody='{"widgets": []}')
    result = run_module(module, {"tag_value": "demo"})
    kinds = [f"{item['service']} {item['type']} {item['id']}" for item in result["leftovers"]]
    assert sorted(kinds) == sorted(
        [
            "cloudwatch alarm demo-errors",
            "cloudwatch dashboard demo",
            "elasticloadbalancing loadbalancer demo",
            *(f"elasticloadbalancing targetgroup demo-{number}" for number in range(25)),
        ]
    )


def test_a_terminated_instance_does_not_count(cloud: Any) -> None:
    ec2 = cloud("ec2")
    instance = ec2.run_instances(
        ImageId="ami-12345678", MinCount=1, MaxCount=1, TagSpecifications=spec("instance")
    )["Instances"][0]["InstanceId"]
    assert look()["ec2 instance"]["id"] == instance
    ec2.terminate_instances(InstanceIds=[instance])
    assert "ec2 instance" not in look()


def test_services_that_only_the_tagging_api_knows(cloud: Any) -> None:
    queue = cloud("sqs").create_queue(QueueName="x", tags={KEY: "demo"})["QueueUrl"]
    topic = cloud("sns").create_topic(Name="t", Tags=tags())["TopicArn"]
    found = look()
    assert found["sqs "]["id"] == queue.rsplit("/", 1)[-1]
    assert found["sns "]["arn"] == topic


def test_another_key(cloud: Any) -> None:
    cloud("ec2").create_vpc(
        CidrBlock="10.0.0.0/16",
        TagSpecifications=[
            {"ResourceType": "vpc", "Tags": [{"Key": "team", "Value": "wasm"}]},
        ],
    )
    result = run_module(module, {"tag_key": "team", "tag_value": "wasm"})
    assert result["count"] == 1
    assert run_module(module, {"tag_value": "wasm"})["count"] == 0
