"""EC2: what amazon.aws.ec2_ami asks of every AMI is answered."""

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
