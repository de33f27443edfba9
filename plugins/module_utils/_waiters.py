# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The waiters that botocore lacks, in its own declarative form."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

with suppress(ImportError):
    from botocore import xform_name
    from botocore.waiter import NormalizedOperationMethod, Waiter

from ansible_collections.amazon.aws.plugins.module_utils.waiter import BaseWaiterFactory


def _becomes(argument: str, done: str, failed: tuple[str, ...] = ()) -> list[dict[str, str]]:
    """Acceptors for "every `argument` is `done`"; one `failed` among them ends the wait."""
    return [
        {"state": "success", "matcher": "pathAll", "argument": argument, "expected": done},
        *(
            {"state": "failure", "matcher": "pathAny", "argument": argument, "expected": state}
            for state in failed
        ),
    ]


def _path(state: str, argument: str) -> dict[str, Any]:
    """An acceptor for a JMESPath condition."""
    return {"state": state, "matcher": "path", "argument": argument, "expected": True}


def _gone(argument: str, error: str) -> list[dict[str, Any]]:
    """Acceptors for "nothing is left": an empty list, or AWS no longer knows the parent."""
    return [
        _path("success", f"length({argument}) == `0`"),
        {"state": "success", "matcher": "error", "expected": error},
    ]


# name: (operation, acceptors)
WAITERS: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "file_system_available": (
        "DescribeFileSystems",
        _becomes("FileSystems[].LifeCycleState", "available", ("deleting", "deleted", "error")),
    ),
    "file_system_deleted": (
        "DescribeFileSystems",
        _gone("FileSystems", "FileSystemNotFound"),
    ),
    "mount_targets_available": (
        "DescribeMountTargets",
        _becomes("MountTargets[].LifeCycleState", "available", ("error",)),
    ),
    "mount_target_deleted": (
        "DescribeMountTargets",
        _gone("MountTargets", "MountTargetNotFound"),
    ),
    "access_point_available": (
        "DescribeAccessPoints",
        _becomes("AccessPoints[].LifeCycleState", "available", ("deleting", "deleted", "error")),
    ),
    "access_point_deleted": (
        "DescribeAccessPoints",
        _gone("AccessPoints", "AccessPointNotFound"),
    ),
    # A function that nobody called for weeks is Inactive until the next call. botocore's waiters
    # wait for it to become Active, for ever.
    "function_idle": (
        "GetFunctionConfiguration",
        [_path("success", "State != 'Pending' && LastUpdateStatus != 'InProgress'")],
    ),
    "function_ready": (
        "GetFunctionConfiguration",
        [
            _path("failure", "contains([State, LastUpdateStatus], 'Failed')"),
            _path(
                "success",
                "contains(['Active', 'Inactive'], State) && LastUpdateStatus == 'Successful'",
            ),
        ],
    ),
    "provisioned_concurrency_ready": (
        "GetProvisionedConcurrencyConfig",
        [
            _path("failure", "Status == 'FAILED'"),
            _path("success", "Status == 'READY'"),
        ],
    ),
    # EC2 adds the rule that lets everything out a moment after the group; botocore's waiter ends
    # before that.
    "security_group_complete": (
        "DescribeSecurityGroups",
        [
            _path("success", "length(SecurityGroups[].IpPermissionsEgress[]) > `0`"),
            {"state": "retry", "matcher": "error", "expected": "InvalidGroup.NotFound"},
        ],
    ),
    "route_table_exists": (
        "DescribeRouteTables",
        [
            _path("success", "length(RouteTables) > `0`"),
            {"state": "retry", "matcher": "error", "expected": "InvalidRouteTableID.NotFound"},
        ],
    ),
    "route_table_associated": (
        "DescribeRouteTables",
        [
            _path(
                "failure",
                "length(RouteTables[].Associations[?AssociationState.State == 'failed'][]) > `0`",
            ),
            _path(
                "success",
                "length(RouteTables[].Associations[?contains(['associating', 'disassociating'], "
                "AssociationState.State)][]) == `0`",
            ),
        ],
    ),
    "targets_drained": (
        "DescribeTargetHealth",
        _gone(
            "TargetHealthDescriptions[?TargetHealth.State == 'draining']",
            "TargetGroupNotFound",
        ),
    ),
}


class _WaiterFactory(BaseWaiterFactory):
    @property
    def _waiter_model_data(self) -> dict[str, Any]:
        return {
            # The pace of each wait comes from pace(); botocore demands defaults.
            name: {
                "operation": operation,
                "acceptors": acceptors,
                "delay": 3,
                "maxAttempts": 100,
            }
            for name, (operation, acceptors) in WAITERS.items()
        }


def get_waiter(client: Any, name: str, retry: Callable[[Any], Any]) -> Any:
    """Our waiter of that name, else botocore's. `retry` decorates each look that it takes."""
    ours = name in WAITERS
    known = _WaiterFactory().get_waiter(client, name) if ours else client.get_waiter(name)
    look = getattr(client, xform_name(known.config.operation))
    return Waiter(name, known.config, NormalizedOperationMethod(retry(look)))


def pace(timeout: int) -> dict[str, float]:
    """WaiterConfig for `timeout` seconds: looks at once, then twice a second."""
    return {"Delay": 0.5, "MaxAttempts": 2 * timeout + 1}
