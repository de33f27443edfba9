#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: kubernetes_probe_info
short_description: Ask the pods of an app who answers
version_added: 1.0.0
author:
  - The multicompute.spin authors (@multicompute)
description:
  - Sends GET requests to the pods that are ready, one after the other and to each pod in turn, by
    the API server's port forwarding. So it needs no way into the cluster's network, and no network
    policy stands in its way.
  - What it counts and returns is what M(multicompute.spin.endpoint_probe_info) does, and beside
    that which releases the pods are of.
extends_documentation_fragment:
  - kubernetes.core.k8s_auth_options
attributes:
  check_mode:
    support: full
    description: Changes nothing. It sends the same requests.
  diff_mode:
    support: none
    description: Changes nothing.
  idempotent:
    support: full
    description: Changes nothing.
options:
  namespace:
    description: Where the pods are.
    type: str
    required: true
  label_selector:
    description: Which pods.
    type: str
    required: true
  port:
    description: The port that they listen on.
    type: int
    default: 8000
  probes:
    description:
      - What to ask for, in turn, and which answer is a good one. Each pod is asked for all of it.
      - Not set, it is V(/), and every answer from 200 to 499 is a good one.
    type: list
    elements: dict
    suboptions:
      path:
        description: What to ask for, beginning with V(/).
        type: str
        required: true
      status:
        description: The status codes wanted, for example V(200), V(200,302) or V(200-299).
        type: str
        default: 200-499
      text:
        description: What the body has to contain.
        type: str
  requests:
    description: How many times, or once for each pod and probe, whichever is more.
    type: int
    default: 10
  timeout:
    description: How many seconds each answer may take.
    type: float
    default: 5
requirements:
  - kubernetes
"""

EXAMPLES = r"""
- name: See which release the pods serve
  multicompute.spin.kubernetes_probe_info:
    context: kind-kind
    namespace: multicompute
    label_selector: app.kubernetes.io/name=multicompute
  register: probe
"""

RETURN = r"""
pods:
  description: Names of the pods that were asked.
  returned: success
  type: list
  elements: str
  sample: [multicompute-6d5f9c7b8-abcde]
versions:
  description:
    - What the pods that were asked say in their label C(app.kubernetes.io/version), with the plus
      sign of a version that has one. So it is known of an app that does not say it itself.
  returned: success
  type: list
  elements: str
  sample: [1.0.0]
requests:
  description: How many requests were sent.
  returned: success
  type: int
  sample: 10
served_by:
  description: Good answers by the name of who sent them, V(unknown) for those that do not say.
  returned: success
  type: dict
  sample:
    kind: {requests: 10, releases: [1.0.0], instances: [multicompute-6d5f9c7b8-abcde], p50_ms: 6.4}
releases:
  description: All releases that answered.
  returned: success
  type: list
  elements: str
  sample: [1.0.0]
p50_ms:
  description: Median time to a good answer in milliseconds, or null if there was none.
  returned: success
  type: float
  sample: 6.4
slowest_ms:
  description: The longest time to a good answer in milliseconds, or null if there was none.
  returned: success
  type: float
  sample: 9.7
failed_by:
  description: Requests that got no good answer, by the name of who sent the bad one, V(unknown) for
    none or those that do not say.
  returned: success
  type: dict
  sample: {unknown: 1}
failures:
  description: How many requests got no good answer. No request is sent where no pod is ready.
  returned: success
  type: int
  sample: 0
first_failure:
  description: The first bad answer, or why there was none. Null if all were good.
  returned: success
  type: dict
  sample:
    path: /
    expected: 200-499
    status: 502
    headers: {content-type: text/html}
    body: Bad Gateway
    error: null
"""

from http.client import HTTPConnection
from typing import Any

from ansible_collections.multicompute.spin.plugins.module_utils._kubernetes import (
    Cluster,
    KubernetesModule,
    is_ready,
)
from ansible_collections.multicompute.spin.plugins.module_utils._probe import (
    PROBES,
    Answer,
    Probe,
    ask,
    ask_all,
    check_options,
    probes_of,
    summary,
    unanswered,
)

VERSION = "app.kubernetes.io/version"


class PodConnection(HTTPConnection):
    """HTTP through the API server's port forwarding."""

    def __init__(self, cluster: Cluster, pod: Any, port: int, timeout: float) -> None:
        super().__init__(pod.metadata.name, port, timeout=timeout)
        self.cluster = cluster
        self.pod = pod

    def connect(self) -> None:
        self.sock = self.cluster.forward(self.pod, self.port)
        self.sock.settimeout(self.timeout)


def version_of(pod: Any) -> str:
    # A label takes no plus sign.
    return str((pod.metadata.labels or {}).get(VERSION, "").replace("_", "+"))


def ask_pod(cluster: Cluster, pod: Any, probe: Probe, port: int, timeout: float) -> Answer:
    connection = PodConnection(cluster, pod, port, timeout)
    try:
        # Not to be measured: it is the way to the API server and not to the app.
        connection.connect()
    except OSError as error:
        return unanswered(probe, error)
    return ask(connection, probe, {})


def main() -> None:
    module = KubernetesModule(
        {
            "namespace": {"type": "str", "required": True},
            "label_selector": {"type": "str", "required": True},
            "port": {"type": "int", "default": 8000},
            "probes": PROBES,
            "requests": {"type": "int", "default": 10},
            "timeout": {"type": "float", "default": 5.0},
        }
    )
    params = module.params
    check_options(module, "requests", "timeout")
    probes = probes_of(module) or [Probe("/")]
    with module.cluster() as cluster:
        ready = [
            pod
            for pod in cluster.pods(params["namespace"], params["label_selector"])
            if is_ready(pod)
        ]
        turns = [(pod, probe) for probe in probes for pod in ready]
        answers = ask_all(
            lambda number: ask_pod(
                cluster, *turns[number % len(turns)], params["port"], params["timeout"]
            ),
            max(params["requests"], len(turns)) if ready else 0,
        )
    module.exit_json(
        changed=False,
        pods=[pod.metadata.name for pod in ready],
        versions=sorted({version for pod in ready if (version := version_of(pod))}),
        **summary(answers),
    )


if __name__ == "__main__":
    main()
