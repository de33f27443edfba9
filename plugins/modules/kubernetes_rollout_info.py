#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: kubernetes_rollout_info
short_description: Wait until a Deployment's rollout has succeeded or cannot succeed
version_added: 1.0.0
author:
  - The multicompute.spin authors (@multicompute)
description:
  - Waits until all pods of a Deployment are of its newest template and available.
  - Ends early where waiting is in vain, which M(kubernetes.core.k8s_info) with its option C(wait)
    does not notice - a pod's image cannot be had, its process ends again and again, its volume
    cannot be mounted, its probe gets a bad answer again and again, or pods are not admitted.
  - The module itself does not fail then. It says which pods failed, why, and what they logged.
extends_documentation_fragment:
  - kubernetes.core.k8s_auth_options
attributes:
  check_mode:
    support: full
    description: Changes nothing. It waits as well.
  diff_mode:
    support: none
    description: Changes nothing.
  idempotent:
    support: full
    description: Changes nothing.
options:
  namespace:
    description: Where the Deployment is.
    type: str
    required: true
  name:
    description: Its name. It may appear while this module waits.
    type: str
    required: true
  timeout:
    description: How many seconds to wait.
    type: int
    default: 300
  log_lines:
    description: How many lines of a failed pod's log to return.
    type: int
    default: 20
requirements:
  - kubernetes
"""

EXAMPLES = r"""
- name: Wait for the rollout
  multicompute.spin.kubernetes_rollout_info:
    context: kind-kind
    namespace: multicompute
    name: multicompute
  register: rollout
  failed_when: not rollout.complete
"""

RETURN = r"""
complete:
  description: Whether all pods are of the newest template and available.
  returned: success
  type: bool
  sample: false
reason:
  description: Why it is not complete. Empty if it is.
  returned: success
  type: str
  sample: multicompute-6d5f9c7b8-abcde cannot become ready
replicas:
  description: How many pods of the newest template are available.
  returned: success
  type: int
  sample: 2
failures:
  description: What keeps pods of the newest template from becoming ready.
  returned: success
  type: list
  elements: dict
  sample:
    - pod: multicompute-6d5f9c7b8-abcde
      reason: CrashLoopBackOff
      message: back-off 10s restarting failed container
      log: ["serve: no release at /mnt/app/releases/1.1.0/app.wasm after 10 s"]
"""

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from ansible_collections.multicompute.spin.plugins.module_utils._kubernetes import (
    Cluster,
    KubernetesModule,
    is_ready,
)

POLL_SECONDS = 0.5
REVISION = "deployment.kubernetes.io/revision"
# What a container waits for that does not come by itself.
HOPELESS = {
    "CreateContainerConfigError",
    "CreateContainerError",
    "CrashLoopBackOff",
    "ErrImageNeverPull",
    "ImageInspectError",
    "ImagePullBackOff",
    "InvalidImageName",
    "RunContainerError",
}
# A mount may fail once or twice while a server or a driver comes up: some fifteen seconds.
MOUNT_ATTEMPTS = 5
# A server that comes up may answer its first probes with an error.
PROBE_ATTEMPTS = 10


class Failure(NamedTuple):
    pod: Any
    container: str
    reason: str
    message: str
    restarted: bool = False
    hopeless: bool = True


class Rollout(NamedTuple):
    complete: bool = False
    reason: str = "the Deployment does not exist"
    replicas: int = 0
    failures: tuple[Failure, ...] = ()
    hopeless: bool = False


def condition(deployment: Any, kind: str, status: str) -> Any | None:
    for found in deployment.status.conditions or []:
        if (found.type, found.status) == (kind, status):
            return found
    return None


def newest_pods(cluster: Cluster, deployment: Any) -> list[Any]:
    metadata = deployment.metadata
    labels = deployment.spec.selector.match_labels
    selector = ",".join(f"{name}={value}" for name, value in labels.items())
    for replicas in cluster.replica_sets(metadata.namespace, selector):
        owners = [owner.uid for owner in replicas.metadata.owner_references or []]
        revision = (replicas.metadata.annotations or {}).get(REVISION)
        if metadata.uid in owners and revision == (metadata.annotations or {}).get(REVISION):
            template = replicas.metadata.labels["pod-template-hash"]
            return cluster.pods(metadata.namespace, f"{selector},pod-template-hash={template}")
    return []


def container_failure(pod: Any, status: Any) -> Failure | None:
    waiting = status.state.waiting if status.state else None
    if waiting and waiting.reason in HOPELESS:
        reason, message = waiting.reason, waiting.message or ""
        return Failure(pod, status.name, reason, message, status.restart_count > 0)
    if status.restart_count and not status.ready:
        ended = status.last_state.terminated if status.last_state else None
        message = f"exit code {ended.exit_code}" if ended else ""
        reason = (ended and ended.reason) or "Restarted"
        return Failure(pod, status.name, reason, message, True)
    return None


def mount_failure(cluster: Cluster, pod: Any) -> Failure | None:
    for event in cluster.warnings(pod):
        if event.reason in ("FailedMount", "FailedAttachVolume"):
            hopeless = (event.count or 1) >= MOUNT_ATTEMPTS
            return Failure(pod, "", event.reason, event.message, hopeless=hopeless)
    return None


def probe_failure(cluster: Cluster, pod: Any, statuses: list[Any]) -> Failure | None:
    for event in cluster.warnings(pod):
        if event.reason == "Unhealthy" and "statuscode" in event.message:
            hopeless = (event.count or 1) >= PROBE_ATTEMPTS
            return Failure(pod, statuses[0].name, event.reason, event.message, hopeless=hopeless)
    return None


def pod_failures(cluster: Cluster, pod: Any) -> Iterator[Failure]:
    if is_ready(pod) or pod.metadata.deletion_timestamp:
        return
    for scheduled in pod.status.conditions or []:
        # A cluster may grow: not hopeless.
        if scheduled.type == "PodScheduled" and scheduled.status == "False":
            yield Failure(pod, "", scheduled.reason, scheduled.message, hopeless=False)
    statuses = pod.status.container_statuses or []
    failures = [container_failure(pod, status) for status in statuses]
    if all(status.state.waiting for status in statuses) and not any(failures):
        failures.append(mount_failure(cluster, pod))
    if any(status.state.running for status in statuses) and not any(failures):
        failures.append(probe_failure(cluster, pod, statuses))
    yield from (failure for failure in failures if failure)


def look(cluster: Cluster, namespace: str, name: str) -> Rollout:
    deployment = cluster.deployment(namespace, name)
    if deployment is None:
        return Rollout()
    status, wanted = deployment.status, deployment.spec.replicas
    replicas = status.updated_replicas or 0
    available = status.available_replicas or 0
    if (status.observed_generation or 0) < deployment.metadata.generation:
        return Rollout(reason="the cluster has not looked at the change yet")
    if replicas == available == (status.replicas or 0) == wanted:
        return Rollout(complete=True, reason="", replicas=replicas)
    refused = condition(deployment, "ReplicaFailure", "True")
    if refused:
        return Rollout(reason=f"{refused.reason}: {refused.message}", hopeless=True)
    failures = tuple(
        failure
        for pod in newest_pods(cluster, deployment)
        for failure in pod_failures(cluster, pod)
    )
    hopeless = [failure for failure in failures if failure.hopeless]
    if hopeless:
        reason = f"{hopeless[0].pod.metadata.name} cannot become ready"
        return Rollout(False, reason, available, failures, True)
    late = condition(deployment, "Progressing", "False")
    reason = f"{replicas} of {wanted} pods are new, {available} of {status.replicas or 0} available"
    return Rollout(False, late.message if late else reason, available, failures, bool(late))


def wait(cluster: Cluster, namespace: str, name: str, timeout: float) -> Rollout:
    deadline = time.monotonic() + timeout
    while True:
        rollout = look(cluster, namespace, name)
        if rollout.complete or rollout.hopeless:
            return rollout
        if time.monotonic() > deadline:
            return rollout._replace(reason=f"not within {timeout} s: {rollout.reason}")
        time.sleep(POLL_SECONDS)


def shown(cluster: Cluster, failure: Failure, lines: int) -> dict[str, Any]:
    log: list[str] = []
    if failure.container:
        if failure.restarted:
            log = cluster.log(failure.pod, failure.container, lines, previous=True)
        log = log or cluster.log(failure.pod, failure.container, lines, previous=False)
    return {
        "pod": failure.pod.metadata.name,
        "reason": failure.reason,
        "message": failure.message,
        "log": log,
    }


def main() -> None:
    module = KubernetesModule(
        {
            "namespace": {"type": "str", "required": True},
            "name": {"type": "str", "required": True},
            "timeout": {"type": "int", "default": 300},
            "log_lines": {"type": "int", "default": 20},
        }
    )
    params = module.params
    with module.cluster() as cluster:
        rollout = wait(cluster, params["namespace"], params["name"], params["timeout"])
        failures = [shown(cluster, failure, params["log_lines"]) for failure in rollout.failures]
    module.exit_json(
        changed=False,
        complete=rollout.complete,
        reason=rollout.reason,
        replicas=rollout.replicas,
        failures=failures,
    )


if __name__ == "__main__":
    main()
