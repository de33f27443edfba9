"""EC2: the metadata service tells each instance of itself, and of its tags as they are now."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from .compute import build, engine
from .conftest import Api, LocalCloud
from .test_ec2 import Machines, container_of

IMAGE = "multicompute/test-ec2-metadata"
TAGS = "meta-data/tags/instance"

# What an SDK does: a token, then the question with it. Prints status and body.
ASK = r"""
use strict; use IO::Socket::INET;
my ($item, $lifetime) = @ARGV;
my ($host) = $ENV{AWS_ENDPOINT_URL} =~ m{//(.*)} or die;
sub request {
    my ($method, $path, $header) = @_;
    my $socket = IO::Socket::INET->new($host) or die "$host: $!";
    print $socket "$method /latest/$path HTTP/1.1\r\nHost: $host\r\n";
    print $socket "Connection: close\r\n$header\r\n";
    local $/;
    my ($status, $body) = <$socket> =~ m{^HTTP\S+ (\d+).*?\r\n\r\n(.*)}s;
    return ($status, $body);
}
my $token = "none";
(undef, $token) = request("PUT", "api/token", "X-aws-ec2-metadata-token-ttl-seconds: $lifetime\r\n")
    if $lifetime;
print join "\n", request("GET", $item, "X-aws-ec2-metadata-token: $token\r\n");
"""


def ask(id_: str, item: str, lifetime: int = 60) -> tuple[int, list[str]]:
    command = ["perl", "-e", ASK, item, str(lifetime)]
    code, output = container_of(id_).exec_run(command)
    assert code == 0, output
    status, *lines = output.decode().split("\n")
    return int(status), lines


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    yield build("probe", IMAGE)
    engine().images.remove(IMAGE, force=True)


@pytest.fixture(scope="module")
def machines(local_cloud: LocalCloud, image: str) -> Machines:
    return Machines(local_cloud, image)


def launch(machines: Machines, tags: dict[str, str], **options: Any) -> str:
    given = [{"Key": key, "Value": value} for key, value in tags.items()]
    return str(
        machines.running(
            TagSpecifications=[{"ResourceType": "instance", "Tags": given}],
            MetadataOptions={"HttpTokens": "required", **options},
        )["InstanceId"]
    )


def test_each_instance_reads_its_own_id_and_tags(machines: Machines) -> None:
    first, second = (
        launch(machines, {"multicompute:8000": release}, InstanceMetadataTags="enabled")
        for release in ("1.0.0", "1.1.0")
    )
    for id_, release in ((first, "1.0.0"), (second, "1.1.0")):
        assert ask(id_, "meta-data/instance-id") == (200, [id_])
        assert ask(id_, TAGS) == (200, ["multicompute:8000"])
        assert ask(id_, f"{TAGS}/multicompute:8000") == (200, [release])

    # A change is there at once.
    tag = {"Key": "multicompute:8001", "Value": "1.2.0"}
    machines.client.create_tags(Resources=[first], Tags=[tag])
    machines.client.delete_tags(Resources=[first], Tags=[{"Key": "multicompute:8000"}])
    assert ask(first, TAGS) == (200, ["multicompute:8001"])
    assert ask(first, f"{TAGS}/multicompute:8000")[0] == 404
    # Where systemd runs, its services find the service by this.
    settings = container_of(first).exec_run(["cat", "/etc/systemd/system.conf.d/local-cloud.conf"])
    assert b"\nDefaultEnvironment=AWS_EC2_METADATA_SERVICE_ENDPOINT=http://" in settings.output
    assert b" AWS_ENDPOINT_URL=http://" in settings.output
    for id_ in (first, second):
        machines.terminate(id_)


def test_an_instance_with_a_profile_gets_its_roles_credentials(machines: Machines) -> None:
    with_role, without = (
        machines.running(**options)["InstanceId"]
        for options in ({"IamInstanceProfile": machines.profile()}, {})
    )
    item = "meta-data/iam/security-credentials"
    status, (name,) = ask(with_role, f"{item}/")
    assert status == 200
    status, lines = ask(with_role, f"{item}/{name}")
    credentials = json.loads("\n".join(lines))
    assert (status, credentials["Code"]) == (200, "Success")
    assert credentials.keys() >= {"AccessKeyId", "SecretAccessKey", "Token", "Expiration"}
    assert ask(with_role, f"{item}/other")[0] == 404
    assert ask(with_role, item, lifetime=0)[0] == 401
    assert ask(without, f"{item}/")[0] == 404
    for id_ in (with_role, without):
        machines.terminate(id_)


def test_only_version_2_and_only_where_tags_are_enabled(machines: Machines) -> None:
    id_ = launch(machines, {"use": "test"})
    assert ask(id_, "meta-data/instance-id")[0] == 200
    assert ask(id_, "meta-data/instance-id", lifetime=0)[0] == 401
    assert ask(id_, "meta-data/instance-id", lifetime=21601)[0] == 401
    assert ask(id_, TAGS)[0] == 404
    machines.client.modify_instance_metadata_options(InstanceId=id_, InstanceMetadataTags="enabled")
    assert ask(id_, TAGS) == (200, ["use"])
    machines.terminate(id_)


def test_upstream_answers_as_one_made_up_instance(plain_ministack: Api) -> None:
    def get(item: str) -> str:
        url = f"{plain_ministack.endpoint}/latest/meta-data/{item}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return str(answer.read().decode())

    assert get("instance-id").startswith("i-")
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get("tags/instance")
