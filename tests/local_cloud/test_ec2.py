"""EC2: AMIs are Docker images, and instances machines that are as asked for and that stay."""

from __future__ import annotations

import base64
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_ssh_private_key,
)
from docker.models.containers import Container

from .compute import (
    Share,
    build,
    engine,
    first_subnet,
    get,
    remove_containers,
    role,
    share,
    unique,
)
from .conftest import CHECKOUT, REGION, Api, LocalCloud, answers, until

PROBE = "multicompute/test-ec2-probe"
USER_DATA = "#cloud-config\nwrite_files: [{path: /hello, content: hi}]\n"


def code_of(call: Callable[..., Any], **arguments: Any) -> str:
    with pytest.raises(ClientError) as raised:
        call(**arguments)
    return raised.value.response["Error"]["Code"]


@dataclass
class Machines:
    """An AMI, and short ways to use its instances."""

    api: Api
    image: str = PROBE
    share: Share | None = None

    def __post_init__(self) -> None:
        self.client = self.api.client("ec2")
        name = unique("ami")
        self.ami = self.client.register_image(Name=name, ImageLocation=self.image)["ImageId"]

    def launch(self, **arguments: Any) -> dict[str, Any]:
        request = {"ImageId": self.ami, "MinCount": 1, "MaxCount": 1} | arguments
        return self.client.run_instances(**request)["Instances"][0]

    def running(self, **arguments: Any) -> dict[str, Any]:
        return self.reach(self.launch(**arguments)["InstanceId"], "running")

    def describe(self, id_: str) -> dict[str, Any]:
        (reservation,) = self.client.describe_instances(InstanceIds=[id_])["Reservations"]
        return reservation["Instances"][0]

    def reach(self, id_: str, state: str) -> dict[str, Any]:
        def reached() -> dict[str, Any] | None:
            found = self.describe(id_)
            assert state == "terminated" or found["State"]["Name"] != "terminated", found
            return found if found["State"]["Name"] == state else None

        return until(reached, 60, state)

    def terminate(self, id_: str) -> None:
        self.client.terminate_instances(InstanceIds=[id_])
        self.reach(id_, "terminated")

    def status(self, id_: str) -> str:
        found = self.client.describe_instance_status(InstanceIds=[id_])["InstanceStatuses"]
        return found[0]["InstanceStatus"]["Status"]

    def profile(self, *actions: str) -> dict[str, str]:
        iam, name = self.api.client("iam"), unique("profile")
        iam.create_instance_profile(InstanceProfileName=name)
        role_name = role(self.api, *actions).rsplit("/", 1)[-1]
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=role_name)
        return {"Name": name}


def container_of(id_: str) -> Container:
    (found,) = engine().containers.list(all=True, filters={"label": f"instance_id={id_}"})
    return found


@pytest.fixture(scope="module")
def probe() -> Iterator[str]:
    yield build("probe", PROBE)
    engine().images.remove(PROBE, force=True)


@pytest.fixture(scope="module")
def machines(local_cloud: LocalCloud, probe: str) -> Machines:
    return Machines(local_cloud, probe, share(local_cloud))


@pytest.fixture(scope="module")
def upstream(plain_ministack: Api, probe: str) -> Iterator[Machines]:
    made = Machines(plain_ministack, probe)
    yield made
    remove_containers(plain_ministack)


# Images


def test_images_are_those_that_were_registered(machines: Machines) -> None:
    ec2, name = machines.client, unique("ami")
    tags = [{"ResourceType": "image", "Tags": [{"Key": "use", "Value": name}]}]
    made = ec2.register_image(Name=name, ImageLocation=PROBE, TagSpecifications=tags)["ImageId"]
    found = ec2.describe_images(Owners=["self"], Filters=[{"Name": "tag:use", "Values": [name]}])[
        "Images"
    ]
    assert [image["ImageId"] for image in found] == [made]
    assert (found[0]["RootDeviceType"], found[0]["RootDeviceName"]) == ("ebs", "/dev/xvda")
    assert found[0]["Architecture"] == {"x86_64": "x86_64", "aarch64": "arm64"}[os.uname().machine]
    assert found[0]["CreationDate"].startswith(time.strftime("%Y-"))
    assert ec2.describe_images(Owners=["amazon"])["Images"] == []
    ec2.deregister_image(ImageId=made)
    assert code_of(ec2.describe_images, ImageIds=[made]) == "InvalidAMIID.NotFound"
    assert code_of(machines.launch, ImageId=made) == "InvalidAMIID.NotFound"
    absent = code_of(ec2.register_image, Name=name, ImageLocation="multicompute/absent")
    assert absent == "InvalidManifest"


def test_an_instance_becomes_an_image(machines: Machines) -> None:
    instance = machines.running()
    get(instance["PrivateIpAddress"], "/write/baked")
    made = machines.client.create_image(InstanceId=instance["InstanceId"], Name=unique("baked"))
    copy = machines.running(ImageId=made["ImageId"])
    assert get(copy["PrivateIpAddress"], "/mode/baked") == "644 0"
    for one in (instance, copy):
        machines.terminate(one["InstanceId"])
    label = {"label": f"multicompute.local-cloud={machines.api.name}"}
    assert len(engine().images.list(filters=label)) == 1
    machines.client.deregister_image(ImageId=made["ImageId"])
    assert engine().images.list(filters=label) == []


def test_an_image_stays_what_it_is_when_the_tag_moves(machines: Machines) -> None:
    tag = "multicompute/test-moving:1"
    original = engine().images.get(PROBE)
    original.tag(tag)
    image = Machines(machines.api, tag)
    engine().images.get("debian:trixie-slim").tag(tag)
    instance = image.running()
    assert container_of(instance["InstanceId"]).image.id == original.id
    image.terminate(instance["InstanceId"])
    engine().images.remove(tag)


# Launch


def test_an_instance_is_as_asked_for(machines: Machines) -> None:
    ec2 = machines.client
    subnet = ec2.describe_subnets()["Subnets"][1]
    group = ec2.create_security_group(
        GroupName=unique("group"), Description="-", VpcId=subnet["VpcId"]
    )["GroupId"]
    key = unique("key")
    ec2.create_key_pair(KeyName=key, KeyType="ed25519")
    profile = machines.profile("ClientMount")
    request = {
        "ClientToken": unique("token"),
        "InstanceType": "t4g.nano",
        "KeyName": key,
        "UserData": USER_DATA,
        "IamInstanceProfile": profile,
        "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 2},
        "NetworkInterfaces": [
            {
                "DeviceIndex": 0,
                "SubnetId": subnet["SubnetId"],
                "Groups": [group],
                "AssociatePublicIpAddress": False,
            }
        ],
        "TagSpecifications": [
            {"ResourceType": kind, "Tags": [{"Key": "Name", "Value": key}]}
            for kind in ("instance", "volume")
        ],
    }
    launched = machines.launch(**request)
    id_ = launched["InstanceId"]
    assert launched["State"]["Name"] == "pending"
    assert machines.launch(**request)["InstanceId"] == id_  # the token launches once
    instance = machines.reach(id_, "running")
    assert instance["InstanceType"] == "t4g.nano"
    assert instance["SubnetId"] == subnet["SubnetId"]
    assert instance["Placement"]["AvailabilityZone"] == subnet["AvailabilityZone"]
    assert [one["GroupId"] for one in instance["SecurityGroups"]] == [group]
    assert instance["IamInstanceProfile"]["Arn"].endswith(profile["Name"])
    assert instance["MetadataOptions"]["HttpTokens"] == "required"
    assert instance["MetadataOptions"]["HttpPutResponseHopLimit"] == 2
    assert instance["Tags"] == [{"Key": "Name", "Value": key}]
    assert "PublicIpAddress" not in instance
    shown = ec2.describe_instance_attribute(InstanceId=id_, Attribute="userData")["UserData"]
    assert base64.b64decode(shown["Value"]).decode() == USER_DATA
    # And so is the machine.
    address = instance["PrivateIpAddress"]
    seed = "/read/var/lib/cloud/seed/nocloud"
    assert get(address, f"{seed}/user-data") == USER_DATA
    assert f'"instance-id": "{id_}"' in get(address, f"{seed}/meta-data")
    assert "ssh-ed25519 " in get(address, f"{seed}/meta-data")
    machines.terminate(id_)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"KeyName": "absent"}, "InvalidKeyPair.NotFound"),
        ({"SubnetId": "subnet-absent"}, "InvalidSubnetID.NotFound"),
        ({"SecurityGroupIds": ["sg-absent"]}, "InvalidGroup.NotFound"),
        ({"IamInstanceProfile": {"Name": "absent"}}, "InvalidParameterValue"),
    ],
)
def test_what_a_launch_names_must_exist(
    machines: Machines, arguments: dict[str, Any], code: str
) -> None:
    assert code_of(machines.launch, **arguments) == code


def test_filters_select_and_unknown_ones_are_refused(machines: Machines) -> None:
    subnets = [subnet["SubnetId"] for subnet in machines.client.describe_subnets()["Subnets"]]
    id_ = machines.running(SubnetId=subnets[1])["InstanceId"]
    assert found(machines, "subnet-id", subnets[1]) == [id_]
    assert found(machines, "subnet-id", subnets[2]) == []
    with pytest.raises(ClientError, match="InvalidParameterValue"):
        found(machines, "subnet", subnets[1])
    machines.terminate(id_)


def found(machines: Machines, name: str, value: str) -> list[str]:
    filters = [
        {"Name": name, "Values": [value]},
        {"Name": "instance-state-name", "Values": ["running"]},
    ]
    reservations = machines.client.describe_instances(Filters=filters)["Reservations"]
    return [i["InstanceId"] for reservation in reservations for i in reservation["Instances"]]


def test_a_share_is_written_by_a_role_that_may_and_read_by_one_that_may_not(
    machines: Machines,
) -> None:
    attached = f"/run/local-cloud/efs/{machines.share.id}/app"
    reader = machines.running(IamInstanceProfile=machines.profile("ClientMount"))
    both = machines.profile("ClientMount", "ClientWrite")
    writer = machines.running(IamInstanceProfile=both)
    points = get(reader["PrivateIpAddress"], "/read/run/local-cloud/efs/access-points.json")
    assert machines.share.access_point in points
    assert get(reader["PrivateIpAddress"], f"/read{attached}/file") == "from the share"
    refused = get(reader["PrivateIpAddress"], f"/write{attached}/new")
    assert refused == "Read-only file system"
    assert get(writer["PrivateIpAddress"], f"/write{attached}/new") == "written"
    for instance in (reader, writer):
        machines.terminate(instance["InstanceId"])


# Life


def test_an_instance_stops_and_starts_with_address_and_disk_and_ends_with_its_volume(
    machines: Machines,
) -> None:
    ec2, instance = machines.client, machines.running()
    id_, address = instance["InstanceId"], instance["PrivateIpAddress"]
    get(address, "/write/kept")
    assert machines.status(id_) == "ok"
    (change,) = ec2.stop_instances(InstanceIds=[id_])["StoppingInstances"]
    assert change["CurrentState"]["Name"] == "stopping"
    machines.reach(id_, "stopped")
    assert container_of(id_).status == "exited"
    assert code_of(ec2.reboot_instances, InstanceIds=[id_]) == "IncorrectInstanceState"
    others = machines.running()  # takes an address, but not this one's
    (change,) = ec2.start_instances(InstanceIds=[id_])["StartingInstances"]
    assert change["CurrentState"]["Name"] == "pending"
    assert machines.reach(id_, "running")["PrivateIpAddress"] == address
    assert get(address, "/mode/kept") == "644 0"
    started = container_of(id_).attrs["State"]["StartedAt"]
    ec2.reboot_instances(InstanceIds=[id_])
    until(lambda: container_of(id_).attrs["State"]["StartedAt"] != started, 20, "the reboot")
    assert get(address, "/mode/kept") == "644 0"
    (volume,) = ec2.describe_volumes(
        VolumeIds=[mapping["Ebs"]["VolumeId"] for mapping in instance["BlockDeviceMappings"]]
    )["Volumes"]
    assert volume["Attachments"][0]["InstanceId"] == id_
    ec2.modify_instance_attribute(InstanceId=id_, DisableApiTermination={"Value": True})
    assert code_of(ec2.terminate_instances, InstanceIds=[id_]) == "OperationNotPermitted"
    ec2.modify_instance_attribute(InstanceId=id_, DisableApiTermination={"Value": False})
    for one in (id_, others["InstanceId"]):
        machines.terminate(one)
    assert volume["VolumeId"] not in str(ec2.describe_volumes())
    assert not engine().containers.list(all=True, filters={"label": f"instance_id={id_}"})


def test_instances_outlive_a_crash_of_the_api(
    make_local_cloud: Callable[..., LocalCloud], probe: str
) -> None:
    cloud = make_local_cloud()
    cloud("start")
    machines = Machines(cloud)
    instances = [machines.running() for _ in range(4)]
    alive, ended, gone, stopped = (instance["InstanceId"] for instance in instances)
    machines.client.stop_instances(InstanceIds=[stopped])
    machines.reach(stopped, "stopped")
    started = container_of(alive).attrs["State"]["StartedAt"]
    time.sleep(3)  # the state is saved by then
    os.kill(cloud.pid, signal.SIGKILL)
    until(lambda: not answers(f"{cloud.endpoint}/_ministack/health"))
    container_of(ended).kill()
    container_of(gone).remove(force=True)
    cloud("start")
    states = {id_: machines.describe(id_)["State"]["Name"] for id_ in (alive, ended, gone, stopped)}
    assert states == {
        alive: "running",
        ended: "running",  # as after a power failure of the computer
        gone: "terminated",
        stopped: "stopped",
    }
    for before in instances:
        after = machines.describe(before["InstanceId"])
        assert after["PrivateIpAddress"] == before["PrivateIpAddress"]
    assert container_of(alive).attrs["State"]["StartedAt"] == started
    assert get(instances[1]["PrivateIpAddress"], "/") == "hello"
    cloud("purge")
    labels = {"label": f"multicompute.local-cloud={cloud.name}"}
    assert not engine().containers.list(all=True, filters=labels)


def test_a_machine_that_ends_by_itself_is_stopped(machines: Machines) -> None:
    id_ = machines.running()["InstanceId"]
    container_of(id_).kill()
    until(lambda: machines.describe(id_)["State"]["Name"] == "stopped")
    reason = machines.describe(id_)["StateReason"]["Code"]
    assert reason == "Client.InstanceInitiatedShutdown"
    machines.terminate(id_)


# A whole system


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The collection's instance image, with a stand-in for the runtime, which isn't used here."""
    context = tmp_path_factory.mktemp("instance")
    runtime = CHECKOUT / "runtime"
    for source in [
        *(runtime / "instance").iterdir(),
        *runtime.glob("*.service"),
        runtime / "follow-tags",
        runtime / "serve",
        runtime / "ship-journal",
    ]:
        shutil.copy(source, context)
    (context / "wasmtime").write_text("#!/bin/sh\n")
    tag = "multicompute/test-system"
    engine().images.build(path=str(context), tag=tag, rm=True)
    yield tag
    engine().images.remove(tag, force=True)


def test_a_machine_signs_with_its_role_and_logs(machines: Machines, system: str) -> None:
    whole = Machines(machines.api, system, machines.share)
    logs, group = machines.api.client("logs"), unique("/instance")
    user_data = f"""#cloud-config
write_files:
  - path: /etc/multicompute/journal.env
    content: |
      AWS_DEFAULT_REGION={REGION}
      LOG_GROUP={group}
runcmd:
  - [systemctl, start, --no-block, multicompute-journal.service, multicompute-tags.service]
"""
    profile = whole.profile()
    id_ = whole.running(UserData=user_data, IamInstanceProfile=profile)["InstanceId"]
    container = container_of(id_)
    # The group comes later than what is to be written to it.
    journal = ["journalctl", "--no-pager", "--unit=multicompute-journal"]
    refused = "The specified log group does not exist"
    until(lambda: refused in container.exec_run(journal).output.decode(), 60, refused)
    logs.create_log_group(logGroupName=group)

    def messages() -> list[str]:
        (stream,) = logs.describe_log_streams(logGroupName=group)["logStreams"] or [None]
        if not stream:
            return []
        assert stream["logStreamName"] == id_
        found = logs.get_log_events(logGroupName=group, logStreamName=id_, startFromHead=True)
        return [event["message"] for event in found["events"]]

    told = until(messages, 30, "the journal")
    # follow-tags, for the instance has no tags in its metadata.
    assert any(line.startswith("multicompute-tags: follow-tags: ") for line in told), told
    whole.terminate(id_)


def test_user_data_is_run_by_the_images_own_cloud_init(machines: Machines, system: str) -> None:
    whole = Machines(machines.api, system, machines.share)
    mount = f"tls,iam,ro,accesspoint={machines.share.access_point}"
    user_data = f"""#cloud-config
runcmd:
  - [mkdir, -p, /mnt/app]
  - [mount, -t, efs, -o, "{mount}", "{machines.share.id}:/", /mnt/app]
  - [touch, /ready]
"""
    instance = whole.running(UserData=user_data, IamInstanceProfile=whole.profile("ClientMount"))
    id_ = instance["InstanceId"]
    until(lambda: whole.status(id_) == "ok", 60, "status checks")
    container = container_of(id_)

    def run(*command: str) -> tuple[int, str]:
        status, output = container.exec_run(list(command))
        return status, output.decode().strip()

    until(lambda: run("test", "-e", "/ready")[0] == 0, 60, "cloud-init")
    assert run("cat", "/proc/1/comm") == (0, "systemd")
    assert run("cat", "/var/lib/cloud/data/instance-id") == (0, id_)
    assert run("cat", "/mnt/app/file") == (0, "from the share")
    assert run("touch", "/mnt/app/new")[0] == 1
    until(lambda: run("systemctl", "is-system-running") == (0, "running"), 30, "systemd")
    began = time.monotonic()
    whole.client.stop_instances(InstanceIds=[id_])
    whole.reach(id_, "stopped")
    assert time.monotonic() - began < 20  # it shut down, and was not killed
    whole.terminate(id_)


# Keys


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
def test_a_key_pair_is_a_key(machines: Machines, kind: str) -> None:
    ec2, name = machines.client, unique("key")
    made = ec2.create_key_pair(KeyName=name, KeyType=kind)
    (shown,) = ec2.describe_key_pairs(KeyNames=[name], IncludePublicKey=True)["KeyPairs"]
    assert shown["KeyType"] == kind
    assert shown["KeyFingerprint"] == made["KeyFingerprint"]
    assert public_of(made["KeyMaterial"].encode()) == shown["PublicKey"].encode()
    imported = ec2.import_key_pair(
        KeyName=unique("key"), PublicKeyMaterial=shown["PublicKey"].encode()
    )
    if kind == "ed25519":  # AWS hashes an imported RSA key otherwise than one of its own
        assert imported["KeyFingerprint"] == made["KeyFingerprint"]
    broken = code_of(ec2.import_key_pair, KeyName=unique("key"), PublicKeyMaterial=b"nonsense")
    assert broken == "InvalidKey.Format"
    ec2.delete_key_pair(KeyName=name)
    assert code_of(ec2.describe_key_pairs, KeyNames=[name]) == "InvalidKeyPair.NotFound"


def public_of(private: bytes) -> bytes:
    load = load_ssh_private_key if b"OPENSSH" in private else load_pem_private_key
    return load(private, None).public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)


# Upstream


def test_upstream_invents_instances_of_invented_images(plain_ministack: Api) -> None:
    ec2 = plain_ministack.client("ec2")
    invented = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    (instance,) = ec2.run_instances(ImageId=invented, MinCount=1, MaxCount=1)["Instances"]
    assert instance["State"]["Name"] == "running"
    assert instance["PublicIpAddress"].startswith("54.")
    anything = ec2.run_instances(
        ImageId="ami-00000000000000000",
        MinCount=1,
        MaxCount=1,
        KeyName="absent",
        IamInstanceProfile={"Name": "absent"},
    )
    assert anything["Instances"]
    unknown = [{"Name": "subnet-id", "Values": ["subnet-absent"]}]
    assert ec2.describe_instances(Filters=unknown)["Reservations"]  # ignores the filter


def test_upstream_instances_are_not_as_asked_for_and_cannot_stop(upstream: Machines) -> None:
    ec2, subnet = upstream.client, first_subnet(upstream.api)
    request = {
        "ClientToken": unique("token"),
        "UserData": USER_DATA,
        "MetadataOptions": {"HttpTokens": "required"},
        "NetworkInterfaces": [{"DeviceIndex": 0, "SubnetId": subnet}],
    }
    first, second = upstream.launch(**request), upstream.launch(**request)
    assert first["InstanceId"] != second["InstanceId"]
    assert "MetadataOptions" not in first
    seed = get(first["PrivateIpAddress"], "/read/var/lib/cloud/seed/nocloud/user-data")
    assert seed == "No such file or directory"
    assert code_of(ec2.stop_instances, InstanceIds=[first["InstanceId"]]) == "UnsupportedOperation"


def test_upstream_keys_are_none(plain_ministack: Api) -> None:
    made = plain_ministack.client("ec2").create_key_pair(KeyName=unique("key"))
    assert "(stub)" in made["KeyMaterial"]


def test_upstream_takes_an_image_that_docker_does_not_have(plain_ministack: Api) -> None:
    ec2 = plain_ministack.client("ec2")
    made = ec2.register_image(Name=unique("ami"), ImageLocation="multicompute/absent")
    (image,) = ec2.describe_images(ImageIds=[made["ImageId"]])["Images"]
    assert image["RootDeviceType"] == "instance-store"
    assert "CreationDate" not in image
