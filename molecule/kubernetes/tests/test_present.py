# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster that serves the shared release."""

from __future__ import annotations

from typing import Any

import pytest
from kubernetes import client

NAME = "molecule"


@pytest.fixture(scope="module")
def pods(core: Any) -> list[Any]:
    found = core.list_namespaced_pod(NAME, label_selector=f"app.kubernetes.io/name={NAME}").items
    return [pod for pod in found if pod.metadata.deletion_timestamp is None]


def test_the_deployment_is_complete(connection: Any) -> None:
    deployment = client.AppsV1Api(connection).read_namespaced_deployment(NAME, NAME)
    assert deployment.status.available_replicas == deployment.spec.replicas
    assert deployment.status.updated_replicas == deployment.spec.replicas
    assert deployment.metadata.labels["app.kubernetes.io/version"] == "0.0.1"


def test_pods_run_and_did_not_fall(pods: list[Any]) -> None:
    assert pods
    for pod in pods:
        (status,) = pod.status.container_statuses
        assert status.ready and status.restart_count == 0
        assert pod.status.qos_class == "Burstable"


def test_the_namespace_is_restricted(core: Any) -> None:
    labels = core.read_namespace(NAME).metadata.labels
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_the_service_leads_to_every_pod(connection: Any, pods: list[Any]) -> None:
    slices = client.DiscoveryV1Api(connection).list_namespaced_endpoint_slice(NAME).items
    ready = {
        address
        for each in slices
        for endpoint in each.endpoints
        if endpoint.conditions.ready
        for address in endpoint.addresses
    }
    assert ready == {pod.status.pod_ip for pod in pods}


def test_the_claim_is_bound_to_the_volume_of_the_share(core: Any, pods: list[Any]) -> None:
    (claim,) = core.list_namespaced_persistent_volume_claim(NAME).items
    assert claim.status.phase == "Bound"
    volume = core.read_persistent_volume(claim.spec.volume_name)
    assert volume.spec.host_path.path == "/mnt/app"
    assert volume.spec.persistent_volume_reclaim_policy == "Retain"


def test_a_drain_takes_one_pod_at_a_time(connection: Any) -> None:
    budget = client.PolicyV1Api(connection).read_namespaced_pod_disruption_budget(NAME, NAME)
    assert budget.spec.max_unavailable == 1
    assert budget.status.disruptions_allowed <= 1


def test_the_autoscaler_knows_the_deployment(connection: Any) -> None:
    scaler = client.AutoscalingV2Api(connection).read_namespaced_horizontal_pod_autoscaler(
        NAME, NAME
    )
    able = {each.type: each.status for each in scaler.status.conditions or []}
    assert able["AbleToScale"] == "True"
    assert (scaler.spec.min_replicas, scaler.spec.max_replicas) == (2, 6)
