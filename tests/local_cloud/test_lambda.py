"""Lambda: image functions run under AWS's emulator, mount, log, and have versions."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from .compute import (
    RIE,
    Share,
    build,
    engine,
    environment,
    first_subnet,
    pushed,
    role,
    share,
    unique,
)
from .conftest import REGION, Api, LocalCloud, until


@dataclass
class Functions:
    """What functions are made of, and short ways to make and invoke them."""

    api: Api
    image: str
    share: Share | None = None

    def __post_init__(self) -> None:
        self.client = self.api.client("lambda")

    def create(self, **arguments: Any) -> str:
        """A function that is not waited for; its name."""
        name = unique("function")
        defaults = {
            "Code": {"ImageUri": self.image},
            "Role": role(self.api),
            "Timeout": 10,
            "MemorySize": 256,
        }
        self.client.create_function(FunctionName=name, PackageType="Image", **defaults | arguments)
        return name

    def active(self, **arguments: Any) -> str:
        name = self.create(**arguments)
        until(lambda: self.configuration(name)["State"] == "Active", 30, "Active")
        return name

    def configuration(self, name: str, **qualifier: str) -> dict[str, Any]:
        return self.client.get_function_configuration(FunctionName=name, **qualifier)

    def updated(self, name: str, **changes: Any) -> None:
        answer = self.client.update_function_configuration(FunctionName=name, **changes)
        assert (answer["State"], answer["LastUpdateStatus"]) == ("Active", "InProgress")
        until(lambda: self.configuration(name)["LastUpdateStatus"] == "Successful", 30, "update")

    def invoke(self, name: str, event: dict[str, Any], **qualifier: str) -> Any:
        answer = self.client.invoke(FunctionName=name, Payload=json.dumps(event), **qualifier)
        payload = json.loads(answer["Payload"].read())
        assert "FunctionError" not in answer, payload
        return payload

    def failure(self, name: str) -> dict[str, Any]:
        answer = self.client.invoke(FunctionName=name, Payload="{}")
        assert answer["FunctionError"] == "Unhandled"
        return json.loads(answer["Payload"].read())

    def environment(self, name: str, **qualifier: str) -> dict[str, str]:
        return environment(self.invoke(name, {"env": 1}, **qualifier))

    def in_vpc(self, **arguments: Any) -> dict[str, Any]:
        """Arguments of a function that mounts the share."""
        assert self.share
        config = {"Arn": self.share.access_point_arn, "LocalMountPath": "/mnt/app"}
        return {
            "VpcConfig": {"SubnetIds": [self.share.subnet], "SecurityGroupIds": []},
            "FileSystemConfigs": [config],
            **arguments,
        }


def code_of(call: Callable[..., Any], **arguments: Any) -> str:
    with pytest.raises(ClientError) as raised:
        call(**arguments)
    return raised.value.response["Error"]["Code"]


@pytest.fixture(scope="module")
def functions(make_local_cloud: Callable[..., LocalCloud]) -> Iterator[Functions]:
    cloud = make_local_cloud()
    cloud("start", "--rie", str(RIE))
    with pushed(cloud, "function") as image:
        yield Functions(cloud, image, share(cloud))
        cloud("purge")  # before its image: a container keeps it


@pytest.fixture(scope="module")
def upstream(plain_ministack: Api) -> Iterator[Functions]:
    image = build("function", "multicompute/test-function")
    made = Functions(plain_ministack, image)
    yield made
    for function in made.client.list_functions()["Functions"]:
        made.client.delete_function(FunctionName=function["FunctionName"])
    engine().images.remove(image, force=True)


# The environment


def test_a_function_is_what_its_configuration_says(functions: Functions) -> None:
    name = functions.active(
        Environment={"Variables": {"OWN": "1"}},
        ImageConfig={"Command": ["other", "command"]},
        Architectures=["x86_64"],
        **functions.in_vpc(Role=role(functions.api, "ClientMount")),
    )
    assert functions.invoke(name, {"args": 1}) == "other command"
    given = functions.environment(name)
    log_stream = given["AWS_LAMBDA_LOG_STREAM_NAME"]
    assert log_stream.startswith(time.strftime("%Y/%m/%d/[$LATEST]", time.gmtime()))
    assert (
        given.items()
        >= {
            "OWN": "1",
            "AWS_LAMBDA_FUNCTION_NAME": name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{name}",
        }.items()
    )
    assert given["AWS_ENDPOINT_URL"].endswith(f":{functions.api.port}")
    config = functions.configuration(name)
    assert config["ImageConfigResponse"] == {"ImageConfig": {"Command": ["other", "command"]}}
    assert config["VpcConfig"]["SubnetIds"] == [functions.share.subnet]
    assert config["Architectures"] == ["x86_64"]
    assert config["FileSystemConfigs"] == functions.in_vpc()["FileSystemConfigs"]
    assert functions.invoke(name, {"write": "/new"}) == "Read-only file system"
    assert functions.invoke(name, {"write": "/tmp/new"}) == "written"


def test_an_extension_starts_and_everything_is_logged(functions: Functions) -> None:
    name = functions.active()
    stream = functions.environment(name)["AWS_LAMBDA_LOG_STREAM_NAME"]
    logs = functions.api.client("logs")

    def messages() -> list[str]:
        events = logs.get_log_events(logGroupName=f"/aws/lambda/{name}", logStreamName=stream)
        return [event["message"] for event in events["events"]]

    until(lambda: any(line.startswith("REPORT RequestId") for line in messages()), 10, "the log")
    lines = messages()
    assert lines.index("extension starts") < lines.index("function starts") < lines.index("env 1")


def test_a_share_is_written_by_a_role_that_may_and_read_by_one_that_may_not(
    functions: Functions,
) -> None:
    reader = functions.active(**functions.in_vpc(Role=role(functions.api, "ClientMount")))
    both = role(functions.api, "ClientMount", "ClientWrite")
    writer = functions.active(**functions.in_vpc(Role=both))
    assert functions.invoke(reader, {"read": "/mnt/app/file"}) == "from the share"
    assert functions.invoke(reader, {"write": "/mnt/app/new"}) == "Read-only file system"
    assert functions.invoke(writer, {"write": "/mnt/app/new"}) == "written"
    assert functions.invoke(reader, {"read": "/mnt/app/new"}) == ""


def test_a_function_whose_role_may_not_mount_fails(functions: Functions) -> None:
    failure = functions.failure(functions.active(**functions.in_vpc()))
    assert failure["errorType"] == "EFSMountFailureException"
    assert "may not elasticfilesystem:ClientMount" in failure["errorMessage"]


def test_a_function_that_takes_too_long_or_ends_says_so(functions: Functions) -> None:
    late = functions.active(Timeout=1)
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(
            functions.client.invoke, FunctionName=late, Payload=json.dumps({"sleep": 5})
        )
        ended = functions.active(ImageConfig={"EntryPoint": ["/bin/false"]})
        assert functions.failure(ended)["errorType"] == "Runtime.ExitError"
        answer = slow.result()
    assert json.loads(answer["Payload"].read())["errorType"] == "Sandbox.Timedout"
    assert functions.environment(late)["AWS_LAMBDA_FUNCTION_NAME"] == late  # in a new environment


def test_a_stand_in_for_the_emulator_is_asked_once_its_api_listens(
    make_local_cloud: Callable[..., LocalCloud], tmp_path: Path
) -> None:
    stand_in = tmp_path / "aws-lambda-rie-x86_64"
    stand_in.write_text(LATE_EMULATOR)
    stand_in.chmod(0o755)
    cloud = make_local_cloud()
    cloud("start", "--rie", str(tmp_path))
    with pushed(cloud, "function", unique("late")) as image:
        functions = Functions(cloud, image)
        assert functions.invoke(functions.active(), {}) == "in time"
        cloud("purge")  # before its image: a container keeps it


# Like AWS's on a busy machine, it takes requests before there is an API for extensions.
LATE_EMULATOR = r"""#!/usr/bin/perl
use IO::Socket::INET;
my $front = IO::Socket::INET->new(LocalPort => 8080, Listen => 9) or die;
fork or do {
    sleep 2;
    my $api = IO::Socket::INET->new(LocalAddr => "127.0.0.1:9001", Listen => 9) or die;
    sleep;
};
while (my $client = $front->accept) {
    while (<$client> =~ /\S/) { }
    my $body = IO::Socket::INET->new("127.0.0.1:9001") ? '"in time"' : '"too early"';
    print $client "HTTP/1.0 200 OK\r\nContent-Length: " . length($body) . "\r\n\r\n$body";
}
"""


# What is refused


def test_images_and_file_systems_must_be_there(functions: Functions) -> None:
    create, invalid = functions.create, "InvalidParameterValueException"
    repository = functions.image.partition("@")[0]
    for absent in (f"{repository}:absent", f"localhost:{functions.api.port}/absent:1"):
        assert code_of(create, Code={"ImageUri": absent}) == invalid
    configs = functions.in_vpc()["FileSystemConfigs"]
    assert code_of(create, FileSystemConfigs=configs) == invalid  # in no VPC
    unknown = [{**configs[0], "Arn": configs[0]["Arn"][:-17] + "0" * 17}]
    assert code_of(create, **functions.in_vpc(FileSystemConfigs=unknown)) == invalid
    subnets = functions.api.client("ec2").describe_subnets()["Subnets"]
    everywhere = {"SubnetIds": [subnet["SubnetId"] for subnet in subnets], "SecurityGroupIds": []}
    with pytest.raises(ClientError, match="wait for them to become available"):
        create(**functions.in_vpc(VpcConfig=everywhere))


def test_a_function_that_is_not_ready_refuses_changes(functions: Functions) -> None:
    name, conflict = functions.create(), "ResourceConflictException"
    assert functions.configuration(name)["State"] == "Pending"
    for call in (functions.client.invoke, functions.client.publish_version):
        assert code_of(call, FunctionName=name) == conflict
    until(lambda: functions.configuration(name)["State"] == "Active", 30, "Active")
    functions.client.update_function_configuration(FunctionName=name, Timeout=9)
    update = functions.client.update_function_configuration
    assert code_of(update, FunctionName=name, Timeout=8) == conflict
    assert functions.environment(name)  # it goes on serving


# Images and versions


def test_code_is_named_by_digest(functions: Functions) -> None:
    repository, _, digest = functions.image.partition("@")
    tagged = {"ImageUri": f"{repository}:1"}
    name = functions.active(Code=tagged)
    function = functions.client.get_function(FunctionName=name)
    assert function["Configuration"]["CodeSha256"] == digest.removeprefix("sha256:")
    assert function["Code"]["ImageUri"] == f"{repository}:1"
    assert function["Code"]["ResolvedImageUri"] == functions.image
    with pushed(functions.api, "probe", unique("second")) as other:
        functions.client.update_function_code(FunctionName=name, ImageUri=other)
        config = functions.configuration(name)
        assert config["CodeSha256"] == other.partition("@sha256:")[2] != digest
        until(lambda: functions.configuration(name)["LastUpdateStatus"] == "Successful", 30)


def test_an_alias_runs_its_version_in_containers_of_its_own(functions: Functions) -> None:
    name = functions.active(Environment={"Variables": {"OWN": "1"}})
    version = functions.client.publish_version(FunctionName=name)["Version"]
    functions.client.create_alias(FunctionName=name, Name="live", FunctionVersion=version)
    first = functions.environment(name, Qualifier="live")
    assert (first["OWN"], first["AWS_LAMBDA_FUNCTION_VERSION"]) == ("1", "1")
    functions.updated(name, Environment={"Variables": {"OWN": "2"}})
    assert functions.environment(name)["OWN"] == "2"
    again = functions.environment(name, Qualifier="live")
    assert again == first  # the update left it alone
    functions.client.publish_version(FunctionName=name)
    functions.client.update_alias(FunctionName=name, Name="live", FunctionVersion="2")
    assert functions.environment(name, Qualifier="live")["OWN"] == "2"
    assert versions_running(name) == ["$LATEST", "1", "2"]
    functions.client.delete_function(FunctionName=name, Qualifier="1")
    assert versions_running(name) == ["$LATEST", "2"]
    functions.client.delete_function(FunctionName=name)
    assert versions_running(name) == []


def versions_running(name: str) -> list[str]:
    """Versions that have a container."""
    found = []
    # Those of other clouds as well, on which other tests may run at the same time.
    label = {"label": "ministack=lambda"}
    for container in engine().containers.list(all=True, filters=label, ignore_removed=True):
        given = dict(entry.partition("=")[::2] for entry in container.attrs["Config"]["Env"])
        if given["AWS_LAMBDA_FUNCTION_NAME"] == name:
            found.append(given["AWS_LAMBDA_FUNCTION_VERSION"])
    return sorted(found)


# Upstream


def test_upstream_has_no_emulator_for_an_image_without_one(upstream: Functions) -> None:
    name = upstream.active(Timeout=1)
    assert "RIE" in upstream.failure(name)["errorMessage"]


def test_upstream_takes_any_image_and_file_system(upstream: Functions) -> None:
    absent = f"arn:aws:elasticfilesystem:{REGION}:000000000000:access-point/fsap-{'0' * 17}"
    config = {"Arn": absent, "LocalMountPath": "/mnt/app"}
    vpc = {"SubnetIds": [first_subnet(upstream.api)], "SecurityGroupIds": []}
    name = upstream.create(
        Code={"ImageUri": "localhost/absent:1"}, FileSystemConfigs=[config], VpcConfig=vpc
    )
    function = upstream.client.get_function(FunctionName=name)
    assert function["Configuration"]["CodeSha256"] == ""
    assert function["Code"]["ResolvedImageUri"] == "localhost/absent:1"
    assert upstream.client.publish_version(FunctionName=name)["Version"] == "1"  # while Pending
