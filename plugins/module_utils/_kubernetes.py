# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules ask a cluster's API, with the connection options of kubernetes.core."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ansible_collections.kubernetes.core.plugins.module_utils.args_common import AUTH_ARG_SPEC
from ansible_collections.kubernetes.core.plugins.module_utils.k8s.client import get_api_client
from ansible_collections.kubernetes.core.plugins.module_utils.k8s.core import AnsibleK8SModule
from ansible_collections.kubernetes.core.plugins.module_utils.k8s.exceptions import CoreException

try:
    from kubernetes import client as api
    from kubernetes.client.exceptions import ApiException
    from kubernetes.stream import portforward
    from urllib3.exceptions import HTTPError
except ImportError:
    api = None


def is_ready(pod: Any) -> bool:
    return pod.metadata.deletion_timestamp is None and any(
        condition.type == "Ready" and condition.status == "True"
        for condition in pod.status.conditions or []
    )


class Cluster:
    """Reads only."""

    def __init__(self, connection: Any) -> None:
        self.core = api.CoreV1Api(connection)
        self.apps = api.AppsV1Api(connection)

    def deployment(self, namespace: str, name: str) -> Any | None:
        try:
            return self.apps.read_namespaced_deployment(name, namespace)
        except ApiException as error:
            if error.status == 404:
                return None
            raise

    def replica_sets(self, namespace: str, selector: str) -> list[Any]:
        return self.apps.list_namespaced_replica_set(namespace, label_selector=selector).items

    def pods(self, namespace: str, selector: str) -> list[Any]:
        return self.core.list_namespaced_pod(namespace, label_selector=selector).items

    def warnings(self, pod: Any) -> list[Any]:
        """The pod's events of that kind, the last one last."""
        events = self.core.list_namespaced_event(
            pod.metadata.namespace,
            field_selector=f"involvedObject.uid={pod.metadata.uid},type=Warning",
        ).items
        return sorted(events, key=lambda event: str(event.last_timestamp or event.event_time))

    def log(self, pod: Any, container: str, lines: int, previous: bool) -> list[str]:
        """The last lines; none if the container never ran."""
        try:
            text = self.core.read_namespaced_pod_log(
                pod.metadata.name,
                pod.metadata.namespace,
                container=container,
                tail_lines=lines,
                previous=previous,
            )
        except ApiException:
            return []
        return (text or "").splitlines()

    def forward(self, pod: Any, port: int) -> Any:
        """A socket that leads to a port of the pod."""
        return portforward(
            self.core.connect_get_namespaced_pod_portforward,
            pod.metadata.name,
            pod.metadata.namespace,
            ports=str(port),
        ).socket(port)


def complaint(error: Exception) -> str:
    """What the API server said, without the rest of its answer."""
    body = getattr(error, "body", "")
    try:
        return f"{error.reason}: {json.loads(body)['message']}"  # type: ignore[attr-defined]
    except (TypeError, ValueError, KeyError, AttributeError):
        return str(error)


class KubernetesModule(AnsibleK8SModule):
    """A module that changes nothing. It says so itself where the library is missing."""

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(argument_spec=AUTH_ARG_SPEC | options, supports_check_mode=True)

    @contextmanager
    def cluster(self) -> Iterator[Cluster]:
        try:
            yield Cluster(get_api_client(self).client.client)
        except (ApiException, HTTPError, CoreException) as error:
            self.fail_json(msg=f"The cluster's API answered: {complaint(error)}")
