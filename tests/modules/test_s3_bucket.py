# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from ansible_collections.multicompute.spin.plugins.modules import s3_bucket
from ansible_collections.multicompute.spin.tests.unit.plugins._stub import run_module


@pytest.fixture
def name() -> str:
    """Bucket names are unique over all accounts."""
    return f"demo-{uuid.uuid4()}"


def put(cloud: Any, name: str, key: str = "uploads/bundle.tar") -> None:
    cloud("s3").put_object(Bucket=name, Key=key, Body=b"x")


def test_missing_parameter_and_bad_name(cloud: Any) -> None:
    assert "missing required arguments: name" in run_module(s3_bucket, {})["msg"]
    for name in ("ab", "Upper", "-demo", "under_score", "a" * 64):
        assert f"{name} is no name for a bucket" in run_module(s3_bucket, {"name": name})["msg"]


def test_life(cloud: Any, converge: Any, name: str) -> None:
    def bucket(**options: Any) -> dict[str, Any]:
        return converge(s3_bucket, {"name": name} | options)

    created = bucket(tags={"project": "demo", "number": 1})
    assert created["changed"] and created["diff"]["before"] == {}
    assert created["bucket"] == {
        "name": name,
        "arn": f"arn:aws:s3:::{name}",
        "region": "eu-central-1",
        "public_access_blocked": True,
        "tls_only": True,
        "encryption": "AES256",
        "versioning": False,
        "expiration": None,
        "tags": {"project": "demo", "number": "1"},
    }
    s3 = cloud("s3")
    blocked = s3.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"]
    assert len(blocked) == 4 and all(blocked.values())
    statements = json.loads(s3.get_bucket_policy(Bucket=name)["Policy"])["Statement"]
    assert [statement["Effect"] for statement in statements] == ["Deny"]
    assert statements[0]["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}

    updates: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"versioning": True}, {"versioning": True}),
        (
            {"expiration": {"prefix": "uploads/", "days": 30}},
            {"expiration": {"prefix": "uploads/", "days": 30}},
        ),
        ({"expiration": {"days": 7}}, {"expiration": {"prefix": "", "days": 7}}),
        ({"expiration": {"days": 0}}, {"expiration": None}),
        ({"versioning": False}, {"versioning": False}),
        (
            {"tags": {"more": "x"}, "purge_tags": False},
            {"tags": {"project": "demo", "number": "1", "more": "x"}},
        ),
        ({"tags": {}}, {"tags": {}}),
    ]
    for change, expected in updates:
        updated = bucket(**change)
        assert updated["changed"], change
        assert expected.items() <= updated["bucket"].items()
    assert bucket()["changed"] is False

    assert bucket(state="absent")["changed"]
    assert s3.list_buckets()["Buckets"] == []
    assert not bucket(state="absent")["changed"]


@pytest.mark.parametrize("region", ["eu-west-1", "us-east-1"])
def test_it_stands_in_the_region_of_the_module(cloud: Any, name: str, region: str) -> None:
    args = {"name": name, "region": region}
    assert run_module(s3_bucket, args)["bucket"]["region"] == region
    constraint = cloud("s3").get_bucket_location(Bucket=name)["LocationConstraint"]
    assert constraint == (None if region == "us-east-1" else region)
    assert not run_module(s3_bucket, args)["changed"]


def test_all_versions_are_deleted_with_force_only(cloud: Any, converge: Any, name: str) -> None:
    converge(s3_bucket, {"name": name, "versioning": True})
    for key in ("a", "a", "b"):
        put(cloud, name, key)
    cloud("s3").delete_object(Bucket=name, Key="b")
    absent = {"name": name, "state": "absent"}
    for check in (True, False):
        assert "give force=true" in run_module(s3_bucket, absent, check=check)["msg"]
    assert converge(s3_bucket, absent | {"force": True})["changed"]
    assert cloud("s3").list_buckets()["Buckets"] == []


def test_more_than_one_page_of_objects_is_deleted(
    cloud: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(s3_bucket, "BATCH", 2)
    run_module(s3_bucket, {"name": name})
    for key in "abcde":
        put(cloud, name, key)
    result = run_module(s3_bucket, {"name": name, "state": "absent", "force": True})
    assert result["changed"]
    assert cloud("s3").list_buckets()["Buckets"] == []


def test_what_someone_opened_is_closed_and_what_they_added_stays(
    cloud: Any, converge: Any, name: str
) -> None:
    args = {"name": name, "expiration": {"prefix": "uploads/", "days": 30}}
    converge(s3_bucket, args)
    s3 = cloud("s3")
    s3.delete_public_access_block(Bucket=name)
    theirs = {
        "Sid": "Theirs",
        "Effect": "Allow",
        "Principal": {"AWS": "arn:aws:iam::210987654321:root"},
        "Action": "s3:GetObject",
        "Resource": f"arn:aws:s3:::{name}/*",
    }
    s3.put_bucket_policy(
        Bucket=name, Policy=json.dumps({"Version": "2012-10-17", "Statement": theirs})
    )
    rule = {
        "ID": "theirs",
        "Status": "Enabled",
        "Filter": {"Prefix": "logs/"},
        "Expiration": {"Days": 1},
    }
    s3.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": [rule]})
    corrected = converge(s3_bucket, args)
    assert corrected["diff"]["before"] == corrected["diff"]["after"] | {
        "public_access_blocked": False,
        "tls_only": False,
        "expiration": None,
    }
    statements = json.loads(s3.get_bucket_policy(Bucket=name)["Policy"])["Statement"]
    assert theirs in statements and len(statements) == 2
    rules = s3.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]
    assert [rule["ID"] for rule in rules] == ["theirs", "multicompute-expiration"]
    converge(s3_bucket, {"name": name, "expiration": {"days": 0}})
    rules = s3.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]
    assert [rule["ID"] for rule in rules] == ["theirs"]


def test_encryption_by_a_kms_key_stays(cloud: Any, converge: Any, name: str) -> None:
    converge(s3_bucket, {"name": name})
    kms = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}
    cloud("s3").put_bucket_encryption(
        Bucket=name, ServerSideEncryptionConfiguration={"Rules": [kms]}
    )
    result = converge(s3_bucket, {"name": name})
    assert not result["changed"] and result["bucket"]["encryption"] == "aws:kms"


@pytest.mark.parametrize("state", ["present", "absent"])
def test_a_bucket_of_another_account_or_region_is_refused(
    cloud: Any, monkeypatch: pytest.MonkeyPatch, name: str, state: str
) -> None:
    args = {"name": name, "state": state}
    run_module(s3_bucket, {"name": name})
    for check in (True, False):
        elsewhere = run_module(s3_bucket, args | {"region": "us-west-2"}, check=check)
        assert f"The bucket {name} is in eu-central-1, not in us-west-2" in elsewhere["msg"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "999999999999")
    for check in (True, False):
        foreign = run_module(s3_bucket, args, check=check)
        assert "the name belongs to another account" in foreign["msg"]
        assert name in foreign["msg"] and "403" in foreign["msg"]


def test_the_bucket_can_be_used_by_its_account(cloud: Any, name: str) -> None:
    run_module(s3_bucket, {"name": name})
    put(cloud, name, "key")
    assert cloud("s3").get_object(Bucket=name, Key="key")["Body"].read() == b"x"
