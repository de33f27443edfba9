"""EC2: what RunInstances and the calls about one instance ask for, and how instances are shown."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

from ministack.core.responses import get_region
from ministack.services import ec2

from ..settings import Cloud

Params = dict[str, Any]
Record = dict[str, Any]
Response = tuple[int, dict[str, str], bytes]

METADATA_OPTIONS = {
    "HttpTokens": "optional",
    "HttpPutResponseHopLimit": "1",
    "HttpEndpoint": "enabled",
    "HttpProtocolIpv6": "disabled",
    "InstanceMetadataTags": "disabled",
}

# Values of an instance that a filter compares; tags are MiniStack's.
FILTERS: dict[str, Callable[[Record], list[str]]] = {
    "architecture": lambda i: [i["Architecture"]],
    "availability-zone": lambda i: [i["Placement"]["AvailabilityZone"]],
    "client-token": lambda i: [i.get("ClientToken", "")],
    "iam-instance-profile.arn": lambda i: [(i.get("IamInstanceProfile") or {}).get("Arn", "")],
    "image-id": lambda i: [i["ImageId"]],
    "instance-id": lambda i: [i["InstanceId"]],
    "instance-state-code": lambda i: [str(i["State"]["Code"])],
    "instance-state-name": lambda i: [i["State"]["Name"]],
    "instance-type": lambda i: [i["InstanceType"]],
    "instance.group-id": lambda i: [g["GroupId"] for g in i["SecurityGroups"]],
    "instance.group-name": lambda i: [g["GroupName"] for g in i["SecurityGroups"]],
    "ip-address": lambda i: [i["PublicIpAddress"]],
    "key-name": lambda i: [i["KeyName"]],
    "private-ip-address": lambda i: [i["PrivateIpAddress"]],
    "subnet-id": lambda i: [i["SubnetId"]],
    "vpc-id": lambda i: [i["VpcId"]],
}


class Refused(Exception):
    """An error of the API, by its code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Request:
    """A checked RunInstances request."""

    count: int
    instance_type: str
    subnet: Record
    groups: list[str]
    key_name: str
    user_data: str
    profile: Record | None
    public: bool


def apply(cloud: Cloud) -> None:
    ec2._instance_xml = _instance_xml(ec2._instance_xml)
    ec2._matches_filters = _matches_filters
    ec2._ACTION_MAP |= {
        "DescribeInstanceAttribute": _describe_attribute(ec2._describe_instance_attribute),
        "ModifyInstanceAttribute": _modify_attribute,
        "ModifyInstanceMetadataOptions": _modify_metadata_options,
    }


# --- Launch -----------------------------------------------------------------------------------


def with_flat_interface(p: Params) -> Params:
    """The first network interface's parameters where those of a request without any stand."""
    flat = dict(p)
    for key, value in p.items():
        if match := re.fullmatch(r"NetworkInterface\.1\.(SubnetId|SecurityGroupId\.\d+)", key):
            flat[match[1]] = value
    return flat


def parse(p: Params) -> Request:
    subnet_id = ec2._p(p, "SubnetId") or ec2._DEFAULT_SUBNET_ID
    subnet = ec2._subnets.get(subnet_id)
    if not subnet:
        raise Refused("InvalidSubnetID.NotFound", f"The subnet ID '{subnet_id}' does not exist")
    key_name = ec2._p(p, "KeyName")
    if key_name and key_name not in ec2._key_pairs:
        raise Refused("InvalidKeyPair.NotFound", f"The key pair '{key_name}' does not exist")
    public = ec2._p(p, "NetworkInterface.1.AssociatePublicIpAddress")
    return Request(
        count=max(1, int(ec2._p(p, "MaxCount") or 1)),
        instance_type=ec2._p(p, "InstanceType") or "t3.micro",
        subnet=subnet,
        groups=_groups(p, subnet["VpcId"]),
        key_name=key_name,
        user_data=ec2._p(p, "UserData"),
        profile=_profile(p),
        public=public == "true" if public else bool(subnet.get("MapPublicIpOnLaunch")),
    )


def _groups(p: Params, vpc_id: str) -> list[str]:
    groups = ec2._parse_member_list(p, "SecurityGroupId")
    for id_ in groups:
        if ec2._security_groups.get(id_, {}).get("VpcId") != vpc_id:
            message = f"The security group '{id_}' does not exist in VPC '{vpc_id}'"
            raise Refused("InvalidGroup.NotFound", message)
    return groups or [
        group["GroupId"]
        for group in ec2._security_groups.values()
        if group["VpcId"] == vpc_id and group["GroupName"] == "default"
    ]


def _profile(p: Params) -> Record | None:
    arn, name = ec2._p(p, "IamInstanceProfile.Arn"), ec2._p(p, "IamInstanceProfile.Name")
    profile, error = ec2._resolve_iam_instance_profile(iam_arn=arn, iam_name=name)
    if error:
        kind, value = ("arn", arn) if arn else ("name", name)
        raise Refused(
            "InvalidParameterValue",
            f"Value ({value}) for parameter iamInstanceProfile.{kind} is invalid. "
            f"Invalid IAM Instance Profile {'ARN' if arn else 'name'}",
        )
    return profile


def complete(instance: Record, p: Params, request: Request, image: Record, index: int) -> None:
    """What MiniStack leaves out of the record."""
    id_, address = instance["InstanceId"], instance["PrivateIpAddress"]
    dashed = address.replace(".", "-")
    instance.update(
        VmManager="docker",
        Architecture=image["Architecture"],
        VpcId=request.subnet["VpcId"],
        Placement={"AvailabilityZone": request.subnet["AvailabilityZone"], "Tenancy": "default"},
        PrivateDnsName=f"ip-{dashed}.{get_region()}.compute.internal",
        # Any other name or address would be somebody else's.
        PublicDnsName=address if request.public else "",
        PublicIpAddress=address if request.public else "",
        NetworkInterfaceId=f"eni-{id_[2:]}",
        ClientToken=ec2._p(p, "ClientToken"),
        MetadataOptions={
            key: ec2._p(p, f"MetadataOptions.{key}") or default
            for key, default in METADATA_OPTIONS.items()
        },
        DisableApiTermination=ec2._p(p, "DisableApiTermination") == "true",
        AmiLaunchIndex=index,
    )
    _complete_root_volume(instance, p, image)
    ec2._parse_tag_specs(p, "instance", id_)


def _complete_root_volume(instance: Record, p: Params, image: Record) -> None:
    (mapping,) = instance["BlockDeviceMappings"]
    volume = ec2._volumes[mapping["Ebs"]["VolumeId"]]
    instance["RootDeviceName"] = mapping["DeviceName"] = image["RootDeviceName"]
    volume["AvailabilityZone"] = instance["Placement"]["AvailabilityZone"]
    wanted = next(
        (
            m.get("Ebs", {})
            for m in ec2._parse_register_block_device_mappings(p)
            if m["DeviceName"] == image["RootDeviceName"]
        ),
        {},
    )
    keep = wanted.get("DeleteOnTermination") == "false"
    mapping["Ebs"]["DeleteOnTermination"] = not keep
    volume["Attachments"][0].update(DeleteOnTermination=not keep, Device=image["RootDeviceName"])
    volume["Size"] = int(wanted.get("VolumeSize", volume["Size"]))
    volume["VolumeType"] = wanted.get("VolumeType", volume["VolumeType"])
    volume["Encrypted"] = wanted.get("Encrypted") == "true"
    ec2._parse_tag_specs(p, "volume", volume["VolumeId"])


# --- Show and find ----------------------------------------------------------------------------


def _instance_xml(xml_of: Callable[[Record], str]) -> Callable[[Record], str]:
    def wrapped(instance: Record) -> str:
        if "MetadataOptions" not in instance:
            return xml_of(instance)  # launched by another service: a record without a machine
        xml = re.sub(r"<(dnsName|ipAddress|keyName)></\1>", "", xml_of(instance))
        return xml.rstrip().removesuffix("</item>") + _more_xml(instance) + "</item>"

    return wrapped


def _more_xml(instance: Record) -> str:
    reason = instance.get("StateReason") or ""
    shown = f"<code>{escape(reason.split(':')[0])}</code><message>{escape(reason)}</message>"
    return (
        f"<clientToken>{escape(instance['ClientToken'])}</clientToken>"
        "<ebsOptimized>false</ebsOptimized><enaSupport>true</enaSupport>"
        f"<metadataOptions>{_options_xml(instance['MetadataOptions'])}</metadataOptions>"
        f"<networkInterfaceSet>{_interface_xml(instance)}</networkInterfaceSet>"
    ) + (f"<stateReason>{shown}</stateReason>" if reason else "")


def _options_xml(options: dict[str, str]) -> str:
    names = {key: f"{key[0].lower()}{key[1:]}" for key in options}
    values = (f"<{names[key]}>{value}</{names[key]}>" for key, value in options.items())
    return f"<state>applied</state>{''.join(values)}"


def _interface_xml(instance: Record) -> str:
    if instance["State"]["Name"] == "terminated":
        return ""
    address, public = instance["PrivateIpAddress"], instance["PublicIpAddress"]
    association = (
        f"<association><publicIp>{public}</publicIp><ipOwnerId>amazon</ipOwnerId></association>"
        if public
        else ""
    )
    groups = "".join(
        f"<item><groupId>{g['GroupId']}</groupId><groupName>{g['GroupName']}</groupName></item>"
        for g in instance["SecurityGroups"]
    )
    return (
        f"<item><networkInterfaceId>{instance['NetworkInterfaceId']}</networkInterfaceId>"
        f"<subnetId>{instance['SubnetId']}</subnetId><vpcId>{instance['VpcId']}</vpcId>"
        f"<status>in-use</status><privateIpAddress>{address}</privateIpAddress>"
        f"<groupSet>{groups}</groupSet>{association}"
        "<attachment><deviceIndex>0</deviceIndex><status>attached</status>"
        "<deleteOnTermination>true</deleteOnTermination></attachment></item>"
    )


def check_filters(p: Params) -> None:
    for name in ec2._parse_filters(p):
        if name not in FILTERS and not re.match(r"tag:|tag-key$|tag-value$", name):
            raise Refused("InvalidParameterValue", f"The filter '{name}' is invalid")


def _matches_filters(instance: Record, filters: dict[str, list[str]]) -> bool:
    return ec2._resource_matches_tag_filters(instance["InstanceId"], filters) and all(
        any(ec2._glob_match(one, value) for one in wanted for value in FILTERS[name](instance))
        for name, wanted in filters.items()
        if name in FILTERS
    )


# --- Attributes -------------------------------------------------------------------------------


def _instance(p: Params) -> Record:
    id_ = ec2._p(p, "InstanceId")
    if id_ not in ec2._instances:
        raise Refused("InvalidInstanceID.NotFound", f"The instance ID '{id_}' does not exist")
    return ec2._instances[id_]


def _describe_attribute(describe: Any) -> Any:
    def wrapped(p: Params) -> Response:
        instance = ec2._instances.get(ec2._p(p, "InstanceId"))
        shown = {
            "userData": lambda: f"<value>{instance['UserData']}</value>",
            "disableApiTermination": lambda: (
                f"<value>{str(instance['DisableApiTermination']).lower()}</value>"
            ),
        }
        name = ec2._p(p, "Attribute")
        if not instance or name not in shown:
            return describe(p)
        return ec2._xml(
            200,
            "DescribeInstanceAttributeResponse",
            f"<instanceId>{instance['InstanceId']}</instanceId><{name}>{shown[name]()}</{name}>",
        )

    return wrapped


def _modify_attribute(p: Params) -> Response:
    try:
        instance = _instance(p)
        if groups := ec2._parse_member_list(p, "GroupId"):
            checked = _groups(
                {f"SecurityGroupId.{i}": id_ for i, id_ in enumerate(groups, 1)}, instance["VpcId"]
            )
            instance["SecurityGroups"] = [
                {"GroupId": id_, "GroupName": ec2._security_groups[id_]["GroupName"]}
                for id_ in checked
            ]
        _modify_stopped(instance, p)
    except Refused as refused:
        return ec2._error(refused.code, str(refused), 400)
    for key in ("DisableApiTermination", "SourceDestCheck"):
        if value := ec2._p(p, f"{key}.Value"):
            instance[key] = value == "true"
    return ec2._xml(200, "ModifyInstanceAttributeResponse", "<return>true</return>")


def _modify_stopped(instance: Record, p: Params) -> None:
    changes = {
        key: value for key in ("InstanceType", "UserData") if (value := ec2._p(p, f"{key}.Value"))
    }
    if changes and instance["State"]["Name"] != "stopped":
        id_ = instance["InstanceId"]
        message = f"The instance '{id_}' is not in the 'stopped' state."
        raise Refused("IncorrectInstanceState", message)
    instance.update(changes)


def _modify_metadata_options(p: Params) -> Response:
    try:
        instance = _instance(p)
    except Refused as refused:
        return ec2._error(refused.code, str(refused), 400)
    options = instance["MetadataOptions"]
    options.update({key: value for key in options if (value := ec2._p(p, key))})
    return ec2._xml(
        200,
        "ModifyInstanceMetadataOptionsResponse",
        f"<instanceId>{instance['InstanceId']}</instanceId>"
        f"<instanceMetadataOptions>{_options_xml(options)}</instanceMetadataOptions>",
    )
