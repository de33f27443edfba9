"""EC2 instances as targets: an instance ID leads to the machine behind it."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager

import docker
import pytest
from botocore.exceptions import ClientError

from .balancing import Balancer, balancer, upstream_request
from .conftest import Api, LocalCloud, until

IMAGE = "multicompute-test/http:1"
DOCKERFILE = """
FROM debian:trixie-slim
COPY serve.pl /
ENTRYPOINT ["perl", "/serve.pl"]
"""
SERVER = r"""
use IO::Socket::INET;
my $name = `hostname`; chomp $name;
my $server = IO::Socket::INET->new(LocalPort => 8000, Listen => 9, ReuseAddr => 1) or die;
$SIG{TERM} = sub { exit };
while (my $client = $server->accept) {
    while (my $line = <$client>) { last if $line =~ /^\r?$/ }
    my $body = "{\"name\": \"$name\"}";
    print $client "HTTP/1.1 200 OK\r\ncontent-length: ", length $body, "\r\n\r\n", $body;
    close $client;
}
"""


@pytest.fixture(scope="session")
def image() -> Iterator[str]:
    """An image whose entry point is an HTTP server on port 8000."""
    client = docker.from_env()
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        for name, content in (("Dockerfile", DOCKERFILE), ("serve.pl", SERVER)):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content.encode()))
    context.seek(0)
    client.images.build(fileobj=context, custom_context=True, tag=IMAGE, rm=True)
    yield IMAGE
    client.images.remove(IMAGE, force=True)


@contextmanager
def instance(api: Api, image: str) -> Iterator[str]:
    ec2 = api.client("ec2")
    ami = ec2.register_image(Name="http", ImageLocation=image)["ImageId"]
    run = ec2.run_instances(ImageId=ami, MinCount=1, MaxCount=1, InstanceType="t3.micro")
    id_ = run["Instances"][0]["InstanceId"]
    try:
        yield id_
    finally:
        ec2.terminate_instances(InstanceIds=[id_])
        ec2.deregister_image(ImageId=ami)


def target_of(id_: str) -> list[dict]:
    return [{"Id": id_, "Port": 8000}]


def states(behind: Balancer, group: str) -> set[str]:
    return set(behind.states(group).values())


def test_an_instance_is_reached_and_leaves_with_its_machine(
    local_cloud: LocalCloud, image: str
) -> None:
    with balancer(local_cloud, []) as behind, instance(local_cloud, image) as id_:
        group = behind.add_group("instance", interval=1)
        behind.elb.register_targets(TargetGroupArn=group, Targets=target_of(id_))
        behind.listen()
        until(lambda: states(behind, group) == {"healthy"}, 30)
        assert behind.get()[0] == 200
        local_cloud.client("ec2").terminate_instances(InstanceIds=[id_])
        until(lambda: states(behind, group) <= {"unused"})
        assert behind.get()[0] == 503


def test_an_unknown_instance_is_no_target(local_cloud: LocalCloud) -> None:
    with balancer(local_cloud, []) as behind:
        group = behind.add_group("instance")
        with pytest.raises(ClientError, match="InvalidTarget"):
            behind.elb.register_targets(TargetGroupArn=group, Targets=target_of("i-0123456789abc"))


def test_upstream_takes_the_instance_id_for_a_host_name(plain_ministack: Api) -> None:
    with balancer(plain_ministack, []) as behind:
        group = behind.add_group("instance")
        behind.elb.register_targets(TargetGroupArn=group, Targets=target_of("i-0123456789abc"))
        behind.listen()
        actions = [{"Type": "forward", "TargetGroupArn": group}]
        behind.elb.modify_listener(ListenerArn=behind.listener, DefaultActions=actions)
        status, body = upstream_request(plain_ministack, behind.arn)
        assert (status, b"i-0123456789abc:8000" in body) == (502, True)
