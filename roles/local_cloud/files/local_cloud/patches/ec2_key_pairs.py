"""EC2: key pairs are keys. MiniStack keeps their names, and hands out a stub."""

from __future__ import annotations

import base64
import hashlib
from typing import Any
from xml.sax.saxutils import escape

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateKey,
    RSAPublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_public_key,
)
from ministack.core.responses import new_uuid
from ministack.services import ec2

from ..settings import Cloud

Params = dict[str, Any]
Response = tuple[int, dict[str, str], bytes]


def apply(cloud: Cloud) -> None:
    ec2._ACTION_MAP |= {
        "CreateKeyPair": _create,
        "ImportKeyPair": _import,
        "DescribeKeyPairs": _describe,
        "DeleteKeyPair": _delete,
    }


def _create(p: Params) -> Response:
    key: RSAPrivateKey | Ed25519PrivateKey
    if ec2._p(p, "KeyType") == "ed25519":
        key = Ed25519PrivateKey.generate()
        form, fingerprint = PrivateFormat.OpenSSH, _sha256(key.public_key())
    else:
        key = generate_private_key(public_exponent=65537, key_size=2048)
        form = PrivateFormat.TraditionalOpenSSL
        private = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        fingerprint = _colons(hashlib.sha1(private))
    material = key.private_bytes(Encoding.PEM, form, NoEncryption()).decode()
    return _add(p, key.public_key(), fingerprint, material)


def _import(p: Params) -> Response:
    try:
        key = load_ssh_public_key(base64.b64decode(ec2._p(p, "PublicKeyMaterial")))
        fingerprint = _sha256(key) if isinstance(key, Ed25519PublicKey) else _md5(key)
    except (ValueError, UnsupportedAlgorithm, AttributeError):
        return ec2._error("InvalidKey.Format", "Key is not in valid OpenSSH public key format", 400)
    return _add(p, key, fingerprint)


def _add(
    p: Params, key: RSAPublicKey | Ed25519PublicKey, fingerprint: str, material: str = ""
) -> Response:
    name = ec2._p(p, "KeyName")
    if not name:
        return ec2._error("MissingParameter", "KeyName is required", 400)
    if name in ec2._key_pairs:
        return ec2._error("InvalidKeyPair.Duplicate", f"The key pair '{name}' already exists", 400)
    id_ = f"key-{new_uuid().replace('-', '')[:17]}"
    ec2._key_pairs[name] = {
        "KeyName": name,
        "KeyPairId": id_,
        "KeyFingerprint": fingerprint,
        "KeyType": "ed25519" if isinstance(key, Ed25519PublicKey) else "rsa",
        "CreateTime": ec2._now_ts(),
        "PublicKey": key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode(),
    }
    ec2._parse_tag_specs(p, "key-pair", id_)
    action = "CreateKeyPair" if material else "ImportKeyPair"
    secret = f"<keyMaterial>{material}</keyMaterial>" if material else ""
    return ec2._xml(200, f"{action}Response", _xml(ec2._key_pairs[name]) + secret)


def _md5(key: Any) -> str:
    return _colons(hashlib.md5(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)))


def _sha256(key: Ed25519PublicKey) -> str:
    openssh = key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).split()[1]
    return base64.b64encode(hashlib.sha256(base64.b64decode(openssh)).digest()).decode()


def _colons(digest: Any) -> str:
    return str(digest.digest().hex(":"))


def _xml(pair: Params) -> str:
    tags = "".join(
        f"<item><key>{escape(tag['Key'])}</key><value>{escape(tag['Value'])}</value></item>"
        for tag in ec2._tags.get(pair["KeyPairId"], [])
    )
    return (
        f"<keyName>{escape(pair['KeyName'])}</keyName><keyPairId>{pair['KeyPairId']}</keyPairId>"
        f"<keyFingerprint>{pair['KeyFingerprint']}</keyFingerprint>"
        f"<keyType>{pair['KeyType']}</keyType><createTime>{pair['CreateTime']}</createTime>"
        f"<tagSet>{tags}</tagSet>"
    )


def _describe(p: Params) -> Response:
    names = ec2._parse_member_list(p, "KeyName")
    filters = ec2._parse_filters(p)
    for name in names:
        if name not in ec2._key_pairs:
            return ec2._error(
                "InvalidKeyPair.NotFound", f"The key pair '{name}' does not exist", 400
            )
    public = ec2._p(p, "IncludePublicKey") == "true"
    items = ""
    for pair in ec2._key_pairs.values():
        wanted = names or filters.get("key-name", [pair["KeyName"]])
        if pair["KeyName"] not in wanted or not ec2._resource_matches_tag_filters(
            pair["KeyPairId"], filters
        ):
            continue
        key = f"<publicKey>{pair['PublicKey']}</publicKey>" if public else ""
        items += f"<item>{_xml(pair)}{key}</item>"
    return ec2._xml(200, "DescribeKeyPairsResponse", f"<keySet>{items}</keySet>")


def _delete(p: Params) -> Response:
    for name, pair in list(ec2._key_pairs.items()):
        if ec2._p(p, "KeyName") == name or ec2._p(p, "KeyPairId") == pair["KeyPairId"]:
            del ec2._key_pairs[name]
            ec2._tags.pop(pair["KeyPairId"], None)
    return ec2._xml(200, "DeleteKeyPairResponse", "<return>true</return>")
