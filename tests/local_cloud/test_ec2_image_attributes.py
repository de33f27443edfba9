"""EC2: what amazon.aws.ec2_ami asks of an AMI is answered, and what Packer sets is kept."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from botocore.exceptions import ClientError

from .conftest import Api, LocalCloud


def product_codes(api: Api) -> list[Any]:
    ec2 = api.client("ec2")
    name = uuid.uuid4().hex
    image_id = ec2.register_image(Name=name, ImageLocation="debian:trixie-slim")["ImageId"]
    answer = ec2.describe_image_attribute(ImageId=image_id, Attribute="productCodes")
    return answer["ProductCodes"]


def test_an_image_has_no_product_codes(local_cloud: LocalCloud) -> None:
    assert product_codes(local_cloud) == []


def test_upstream_does_not_know_product_codes(plain_ministack: Api) -> None:
    with pytest.raises(ClientError, match="InvalidParameterValue"):
        product_codes(plain_ministack)


def described(api: Api) -> str:
    ec2 = api.client("ec2")
    name = uuid.uuid4().hex
    image_id = ec2.register_image(Name=name, ImageLocation="debian:trixie-slim")["ImageId"]
    ec2.modify_image_attribute(ImageId=image_id, Description={"Value": "as Packer sets it"})
    return str(ec2.describe_images(ImageIds=[image_id])["Images"][0]["Description"])


def test_an_image_can_be_described_later(local_cloud: LocalCloud) -> None:
    assert described(local_cloud) == "as Packer sets it"


def test_upstream_refuses_a_description(plain_ministack: Api) -> None:
    with pytest.raises(ClientError, match="launch permissions"):
        described(plain_ministack)
