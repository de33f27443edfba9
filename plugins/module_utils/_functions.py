# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Functions of Lambda as AWS describes them, and as they shall be: pure functions."""

from __future__ import annotations

import math
from typing import Any

from ansible_collections.multicompute.spin.plugins.module_utils._shapes import option_name, text

Options = dict[str, Any]

CODE = ("image_uri", "architecture")
CONFIGURATION = (
    "dead_letter_arn",
    "description",
    "environment",
    "ephemeral_storage",
    "file_system_configs",
    "image_config",
    "kms_key_arn",
    "logging_config",
    "memory_size",
    "role",
    "timeout",
    "tracing_mode",
    "vpc_config",
)
# What is no part of a version, and takes a call of its own.
CONCURRENCY = ("reserved_concurrent_executions", "provisioned_concurrent_executions")
LEVELS = {"application_log_level", "system_log_level"}
# The version that a run publishes; its number is known afterwards.
NEW = "new"
UNRESERVED = -1


def described(function: Options) -> Options:
    """What GetFunction answers; nothing gives the defaults of a new function."""
    config = function.get("Configuration", {})
    code = function.get("Code", {})
    vpc = config.get("VpcConfig", {})
    image_config = config.get("ImageConfigResponse", {}).get("ImageConfig", {})
    failed = "Failed" in (config.get("State"), config.get("LastUpdateStatus"))
    return {
        "image_uri": code.get("ResolvedImageUri") or code.get("ImageUri"),
        "architecture": config.get("Architectures", ["x86_64"])[0],
        "description": config.get("Description", ""),
        "role": config.get("Role"),
        "memory_size": config.get("MemorySize", 128),
        "timeout": config.get("Timeout", 3),
        "ephemeral_storage": config.get("EphemeralStorage", {}).get("Size", 512),
        "environment": config.get("Environment", {}).get("Variables", {}),
        "vpc_config": {
            "subnet_ids": sorted(vpc.get("SubnetIds", [])),
            "security_group_ids": sorted(vpc.get("SecurityGroupIds", [])),
        },
        "file_system_configs": [
            {"arn": mount["Arn"], "local_mount_path": mount["LocalMountPath"]}
            for mount in config.get("FileSystemConfigs", [])
        ],
        "image_config": by_option(image_config),
        "tracing_mode": config.get("TracingConfig", {}).get("Mode", "PassThrough"),
        "dead_letter_arn": config.get("DeadLetterConfig", {}).get("TargetArn", ""),
        "kms_key_arn": config.get("KMSKeyArn", ""),
        "logging_config": by_option(config.get("LoggingConfig", {})),
        "reserved_concurrent_executions": function.get("Concurrency", {}).get(
            "ReservedConcurrentExecutions", UNRESERVED
        ),
        "status": "Failed" if failed else "Active",
    }


def set_ones(options: Options) -> Options:
    return {option: value for option, value in options.items() if value not in (None, "", [])}


def by_option(config: Options) -> Options:
    return set_ones({option_name(member): value for member, value in config.items()})


def wanted(params: Options, current: Options) -> Options:
    """The given options in the form of `current`, and equal to it where they mean the same."""
    given = {
        option: params[option]
        for option in (*CODE, *CONFIGURATION, *CONCURRENCY)
        if params[option] is not None
    }
    if "environment" in given:
        environment = given["environment"].items()
        given["environment"] = {k: text(v) for k, v in environment if v is not None}
    if "vpc_config" in given:
        given["vpc_config"] = {key: sorted(ids) for key, ids in given["vpc_config"].items()}
    if "image_config" in given:
        given["image_config"] = set_ones(given["image_config"])
    if "logging_config" in given:
        logging = current["logging_config"] | set_ones(given["logging_config"])
        # Text has no levels, and AWS refuses them.
        left_out = set() if logging.get("log_format") == "JSON" else LEVELS
        given["logging_config"] = {k: v for k, v in logging.items() if k not in left_out}
    return given


def differ(one: Options, other: Options) -> bool:
    """Whether two states of the function behave differently."""
    return any(one[key] != other[key] for key in (*CODE, *CONFIGURATION))


def remaining(versions: list[str], pinned: set[str], live: str, keep: int | None) -> list[str]:
    """The versions that stay, newest first: `keep` of them, and those that an alias points to."""
    newest_first = sorted({*versions, live}, key=age, reverse=True)
    keep = keep or len(newest_first)
    return [v for n, v in enumerate(newest_first) if n < keep or v in {*pinned, live}]


def age(version: str) -> float:
    return math.inf if version == NEW else int(version)


# Which versions an alias calls, with their share in percent; the one that has been there first.


def shares(alias: Options) -> dict[str, int]:
    if not alias:
        return {}
    weights = alias.get("RoutingConfig", {}).get("AdditionalVersionWeights", {})
    newer = {version: round(weight * 100) for version, weight in weights.items()}
    return {alias["FunctionVersion"]: 100 - sum(newer.values())} | newer


def wanted_shares(current: dict[str, int], newest: str, weight: int) -> dict[str, int]:
    """The newest gets `weight`, and what had the calls before keeps the rest."""
    stable = next(iter(current), newest)
    if weight == 100 or stable == newest:
        return {newest: 100}
    return {stable: 100 - weight, newest: weight}


def alias_request(versions: dict[str, int]) -> Options:
    stable, *newer = versions
    weights = {version: versions[version] / 100 for version in newer}
    return {"FunctionVersion": stable, "RoutingConfig": {"AdditionalVersionWeights": weights}}


def shown_shares(versions: dict[str, int]) -> Any:
    """A version alone, as it mostly is, by its name."""
    return dict(versions) if len(versions) > 1 else next(iter(versions), None)
