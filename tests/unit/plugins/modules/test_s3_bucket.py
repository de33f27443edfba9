# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.multicompute.spin.plugins.modules import s3_bucket
from ansible_collections.multicompute.spin.tests.unit.plugins._stub import (
    AwsError,
    FakeAws,
    run_module,
)
from hypothesis import given
from hypothesis import strategies as st

NOT_FOUND = AwsError("404", "Not Found", 404)
EXISTS = {"BucketRegion": "eu-central-1"}
TLS_ONLY = {"Version": "2012-10-17", "Statement": [s3_bucket.tls_statement("demo", "aws")]}
SSE = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]}


@pytest.fixture
def s3(aws: FakeAws) -> FakeAws:
    """A bucket that is as the module wants it."""
    aws.on("sts.GetCallerIdentity", {"Account": "123456789012"})
    aws.on("s3.HeadBucket", EXISTS)
    aws.on("s3.GetPublicAccessBlock", {"PublicAccessBlockConfiguration": s3_bucket.NOTHING_PUBLIC})
    aws.on("s3.GetBucketPolicy", {"Policy": json.dumps(TLS_ONLY)})
    aws.on("s3.GetBucketEncryption", {"ServerSideEncryptionConfiguration": SSE})
    aws.on("s3.GetBucketVersioning", {})
    aws.on(
        "s3.GetBucketLifecycleConfiguration", AwsError("NoSuchLifecycleConfiguration", status=404)
    )
    aws.on("s3.GetBucketTagging", AwsError("NoSuchTagSet", status=404))
    for operation in (
        "CreateBucket",
        "DeleteBucket",
        "DeleteObjects",
        "PutPublicAccessBlock",
        "PutBucketPolicy",
        "PutBucketEncryption",
        "PutBucketVersioning",
        "PutBucketLifecycleConfiguration",
        "PutBucketTagging",
        "DeleteBucketTagging",
    ):
        aws.on(f"s3.{operation}", {})
    return aws


def writes(s3: FakeAws) -> list[str]:
    return [call.operation for call in s3.writes()]


# Comparison


@given(
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20), st.integers(1, 3650)
)
def test_our_expiration_is_read_as_it_was_given(prefix: str, days: int) -> None:
    rule = s3_bucket.expiration_rule(prefix, days)
    other = {"ID": "other", "Status": "Enabled", "Expiration": {"Days": 1}}
    assert s3_bucket.expiration([other, rule]) == {"prefix": prefix, "days": days}
    assert s3_bucket.expiration([other]) is None
    if not prefix:
        # S3-compatible servers leave an empty filter out.
        assert s3_bucket.expiration([rule | {"Filter": {}}]) == {"prefix": "", "days": days}


@pytest.mark.parametrize(
    "change",
    [
        {"Status": "Disabled"},
        {"Expiration": {"Days": 31}},
        {"NoncurrentVersionExpiration": {"NoncurrentDays": 31}},
        {"Filter": {"Prefix": "other/"}},
        {"Filter": {"Prefix": "uploads/", "ObjectSizeLessThan": 1}},
    ],
)
def test_a_changed_rule_of_ours_is_a_difference(change: dict[str, Any]) -> None:
    rule = s3_bucket.expiration_rule("uploads/", 30) | change
    assert s3_bucket.expiration([rule]) != {"prefix": "uploads/", "days": 30}


@given(
    st.permutations(["arn:aws:s3:::demo", "arn:aws:s3:::demo/*"]),
    st.sampled_from(["*", {"AWS": "*"}, {"AWS": ["*"]}]),
    st.sampled_from(["s3:*", ["s3:*"]]),
    st.sampled_from(["false", False, ["false"]]),
    st.sampled_from([None, "Other"]),
    st.booleans(),
)
def test_the_tls_statement_is_known_in_every_spelling(
    resources: list[str], principal: Any, action: Any, secure: Any, sid: str | None, single: bool
) -> None:
    statement = {
        "Effect": "Deny",
        "Principal": principal,
        "Action": action,
        "Resource": resources,
        "Condition": {"Bool": {"aws:SecureTransport": secure}},
    } | ({"Sid": sid} if sid else {})
    policy = {"Version": "2012-10-17", "Statement": statement if single else [statement]}
    assert s3_bucket.is_tls_only("demo", policy, "aws")


@pytest.mark.parametrize(
    "change",
    [
        {"Effect": "Allow"},
        {"Action": "s3:GetObject"},
        {"Resource": "arn:aws:s3:::demo/*"},
        {"Principal": {"AWS": "arn:aws:iam::123456789012:root"}},
        {"Condition": {"Bool": {"aws:SecureTransport": "true"}}},
        {"Condition": {}},
    ],
)
def test_a_weaker_statement_is_replaced(change: dict[str, Any]) -> None:
    ours = s3_bucket.tls_statement("demo", "aws")
    weaker = {"Version": "2012-10-17", "Statement": [ours | change]}
    assert not s3_bucket.is_tls_only("demo", weaker, "aws")
    corrected = s3_bucket.with_tls_only("demo", weaker, "aws")
    assert corrected["Statement"] == [ours]


# Calls


@pytest.mark.parametrize(
    ("region", "configuration"),
    [
        ("us-east-1", {}),
        ("eu-central-1", {"CreateBucketConfiguration": {"LocationConstraint": "eu-central-1"}}),
    ],
)
def test_the_location_is_named_everywhere_but_in_the_first_region(
    s3: FakeAws, region: str, configuration: dict[str, Any]
) -> None:
    s3.on("s3.HeadBucket", [NOT_FOUND, {"BucketRegion": region}])
    assert run_module(s3_bucket, {"name": "demo", "region": region})["changed"]
    assert s3.params("CreateBucket") == [{"Bucket": "demo"} | configuration]


def test_a_bucket_that_is_right_takes_no_call_that_changes(s3: FakeAws) -> None:
    assert not run_module(s3_bucket, {"name": "demo", "versioning": False})["changed"]
    assert writes(s3) == []


def test_ownership_is_asked_for(s3: FakeAws) -> None:
    run_module(s3_bucket, {"name": "demo"})
    assert s3.params("HeadBucket") == [{"Bucket": "demo", "ExpectedBucketOwner": "123456789012"}]


def test_check_mode_of_a_new_bucket(s3: FakeAws) -> None:
    s3.on("s3.HeadBucket", NOT_FOUND)
    predicted = run_module(s3_bucket, {"name": "demo", "versioning": True}, check=True)
    assert predicted["changed"] and writes(s3) == []
    assert predicted["bucket"] == {
        "name": "demo",
        "arn": "arn:aws:s3:::demo",
        "region": "eu-central-1",
        "public_access_blocked": True,
        "tls_only": True,
        "encryption": "AES256",
        "versioning": True,
        "expiration": None,
        "tags": {},
    }


def test_a_server_without_default_encryption_gets_it(s3: FakeAws) -> None:
    s3.on(
        "s3.GetBucketEncryption",
        AwsError("ServerSideEncryptionConfigurationNotFoundError", status=404),
    )
    assert run_module(s3_bucket, {"name": "demo"})["changed"]
    assert writes(s3) == ["PutBucketEncryption"]
    assert s3.params("PutBucketEncryption")[0]["ServerSideEncryptionConfiguration"] == SSE


def test_a_new_bucket_that_is_not_known_everywhere_yet_is_waited_for(s3: FakeAws) -> None:
    s3.on("s3.HeadBucket", [NOT_FOUND, NOT_FOUND, NOT_FOUND, EXISTS])
    s3.on("s3.GetBucketTagging", [AwsError("NoSuchBucket", status=404), {"TagSet": []}])
    busy = AwsError("OperationAborted", "A conflicting conditional operation", 409)
    s3.on("s3.PutBucketTagging", [busy, {}])
    assert run_module(s3_bucket, {"name": "demo", "tags": {"a": "b"}})["changed"]
    assert writes(s3) == ["CreateBucket", "PutBucketTagging", "PutBucketTagging"]


def test_a_creation_that_got_through_before_is_taken_over(s3: FakeAws) -> None:
    s3.on("s3.HeadBucket", [NOT_FOUND, EXISTS])
    s3.on("s3.CreateBucket", AwsError("BucketAlreadyOwnedByYou", status=409))
    assert run_module(s3_bucket, {"name": "demo"})["changed"]


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (AwsError("BucketAlreadyExists", status=409), "another account has it"),
        (AwsError("OperationAborted", status=409), "S3 frees the name within an hour"),
        (AwsError("AccessDenied", status=403), "allow s3:CreateBucket"),
    ],
)
def test_a_bucket_that_cannot_be_created(s3: FakeAws, error: AwsError, advice: str) -> None:
    s3.on("s3.HeadBucket", NOT_FOUND)
    s3.on("s3.CreateBucket", error)
    message = run_module(s3_bucket, {"name": "demo"})["msg"]
    assert "Could not create the bucket demo" in message
    assert advice in message and error.code in message


def test_tags_of_aws_itself_stay(s3: FakeAws) -> None:
    own = {"Key": "aws:cloudformation:stack-name", "Value": "x"}
    s3.on("s3.GetBucketTagging", {"TagSet": [own, {"Key": "old", "Value": "y"}]})
    run_module(s3_bucket, {"name": "demo", "tags": {}})
    assert s3.params("PutBucketTagging")[0]["Tagging"] == {"TagSet": [own]}


def test_how_small_objects_move_is_not_changed_along(s3: FakeAws) -> None:
    sizes = {"TransitionDefaultMinimumObjectSize": "varies_by_storage_class"}
    s3.on("s3.GetBucketLifecycleConfiguration", {"Rules": []} | sizes)
    run_module(s3_bucket, {"name": "demo", "expiration": {"days": 1}})
    assert sizes.items() <= s3.params("PutBucketLifecycleConfiguration")[0].items()


def test_an_object_that_cannot_be_deleted_is_named(s3: FakeAws) -> None:
    s3.on("s3.ListObjectVersions", {"Versions": [{"Key": "locked", "VersionId": "v1"}]})
    error = {"Key": "locked", "VersionId": "v1", "Code": "AccessDenied", "Message": "object lock"}
    s3.on("s3.DeleteObjects", {"Errors": [error]})
    message = run_module(s3_bucket, {"name": "demo", "state": "absent", "force": True})["msg"]
    assert "1 objects of the bucket demo" in message
    assert "locked: AccessDenied: object lock" in message
    assert "DeleteBucket" not in writes(s3)


def test_an_object_written_during_the_deletion_is_told(s3: FakeAws) -> None:
    s3.on("s3.ListObjectVersions", {})
    s3.on("s3.DeleteBucket", AwsError("BucketNotEmpty", status=409))
    message = run_module(s3_bucket, {"name": "demo", "state": "absent", "force": True})["msg"]
    assert "objects were written meanwhile, try again" in message


def test_negative_days_are_refused(s3: FakeAws) -> None:
    args = {"name": "demo", "expiration": {"days": -1}}
    assert "expiration.days has to be 0 or more" in run_module(s3_bucket, args)["msg"]
