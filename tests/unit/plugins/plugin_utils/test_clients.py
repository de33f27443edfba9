# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import botocore.session
import pytest
from ansible_collections.amazon.aws.plugins.modules import ec2_instance
from ansible_collections.multicompute.spin.plugins.modules import elb_lambda_target
from ansible_collections.multicompute.spin.plugins.plugin_utils import clients, warm

CONFIG = """
[profile other]
region = ap-south-1
aws_access_key_id = of-profile
aws_secret_access_key = secret
"""


def whom(client: Any) -> tuple[str, str, str]:
    """Region, endpoint and key of a client."""
    key = client._request_signer._credentials.access_key
    return client.meta.region_name, client.meta.endpoint_url, key


@pytest.fixture
def stock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Any], Any]:
    """Calls a function in a fork of a process with a full stock, which was made elsewhere."""
    config = tmp_path / "config"
    config.write_text(CONFIG)
    given = {"AWS_DEFAULT_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "of-parent"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    clients.prepare(["ec2", "s3"])
    return lambda function: warm.in_fork(function)


def test_a_session_of_the_stock_is_used_once(stock: Any) -> None:
    def sessions() -> tuple[int, int]:
        made = [botocore.session.get_session() for _ in range(clients.SPARE_SESSIONS + 2)]
        return len({id(session) for session in made}), len(made)

    different, made = stock(sessions)
    assert different == made


def test_a_client_asks_whom_its_fork_says(stock: Any) -> None:
    def asked() -> list[tuple[str, str, str]]:
        before = whom(boto3.client("ec2"))
        boto3.DEFAULT_SESSION = None
        os.environ |= {
            "AWS_DEFAULT_REGION": "us-west-2",
            "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
            "AWS_ACCESS_KEY_ID": "of-fork",
        }
        environment = whom(boto3.session.Session().client("ec2"))
        arguments = whom(
            boto3.session.Session(
                aws_access_key_id="of-arguments",
                aws_secret_access_key="secret",
                region_name="sa-east-1",
            ).client("ec2", endpoint_url="http://127.0.0.1:2")
        )
        os.environ.pop("AWS_ENDPOINT_URL")
        os.environ.pop("AWS_DEFAULT_REGION")
        profile = whom(boto3.session.Session(profile_name="other").client("ec2"))
        return [before, environment, arguments, profile]

    def endpoint(region: str) -> str:
        return f"https://ec2.{region}.amazonaws.com"

    assert [tuple(one) for one in stock(asked)] == [
        ("eu-west-1", endpoint("eu-west-1"), "of-parent"),
        ("us-west-2", "http://127.0.0.1:1", "of-fork"),
        ("sa-east-1", "http://127.0.0.1:2", "of-arguments"),
        ("ap-south-1", endpoint("ap-south-1"), "of-profile"),
    ]


def test_what_one_session_adds_to_its_clients_others_lack(stock: Any) -> None:
    def added() -> list[bool]:
        first, second = boto3.session.Session(), boto3.session.Session()
        first.events.register(
            "creating-client-class.ec2",
            lambda class_attributes, **_: class_attributes.update(own=None),
        )
        made = [session.client("ec2") for session in (first, second)]
        # What boto3 itself adds to a client of S3, it adds whoever prepared the service.
        return [
            hasattr(made[0], "own"),
            hasattr(made[1], "own"),
            hasattr(first.client("s3"), "upload_file"),
        ]

    assert stock(added) == [True, False, True]


def test_models_of_a_folder_of_ones_own_are_found(stock: Any, tmp_path: Path) -> None:
    def operations() -> list[str]:
        session = botocore.session.get_session()
        os.environ["AWS_DATA_PATH"] = str(tmp_path)
        model = session.get_service_model("ec2")
        return list(model.operation_names)

    folder = tmp_path / "ec2" / "2999-01-01"
    folder.mkdir(parents=True)
    metadata = {"protocol": "ec2", "endpointPrefix": "ec2", "apiVersion": "2999-01-01"}
    model = {"metadata": metadata, "operations": {"Own": {"name": "Own"}}, "shapes": {}}
    (folder / "service-2.json").write_text(json.dumps(model))
    assert stock(operations) == ["Own"]


@pytest.mark.parametrize(
    ("module", "services"),
    [(ec2_instance, {"ec2", "iam"}), (elb_lambda_target, {"elbv2", "lambda"})],
)
def test_services_are_read_from_the_source(module: ModuleType, services: set[str]) -> None:
    assert clients.services_of(module) == services


@pytest.mark.parametrize(
    ("service", "environment"),
    [("no-service", {}), ("sqs", {"AWS_PROFILE": "absent"}), ("sns", {"AWS_MAX_ATTEMPTS": "x"})],
)
def test_what_cannot_be_prepared_is_left_to_the_modules(
    stock: Any, monkeypatch: pytest.MonkeyPatch, service: str, environment: dict[str, str]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    clients.prepare([service])
