"""EC2: attributes of an AMI that MiniStack leaves out.

DescribeImageAttribute knows product codes, which amazon.aws.ec2_ami asks every AMI for;
ModifyImageAttribute sets the description, as Packer does.
"""

from __future__ import annotations

from typing import Any

from ministack.services import ec2

from ..settings import Cloud


def apply(cloud: Cloud) -> None:
    ec2._ACTION_MAP |= {
        "DescribeImageAttribute": _describe(ec2._describe_image_attribute),
        "ModifyImageAttribute": _modify(ec2._modify_image_attribute),
    }


def _describe(describe: Any) -> Any:
    def wrapped(p: dict[str, Any]) -> Any:
        image_id = ec2._p(p, "ImageId")
        if ec2._p(p, "Attribute") == "productCodes" and ec2._images.get(image_id):
            return ec2._xml(
                200,
                "DescribeImageAttributeResponse",
                f"<imageId>{image_id}</imageId><productCodes/>",
            )
        return describe(p)

    return wrapped


def _modify(modify: Any) -> Any:
    def wrapped(p: dict[str, Any]) -> Any:
        image = ec2._images.get(ec2._p(p, "ImageId"))
        description = ec2._p(p, "Description.Value")
        if image and description:
            image["Description"] = description
            return ec2._xml(200, "ModifyImageAttributeResponse", "<return>true</return>")
        return modify(p)

    return wrapped
