#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: endpoint_probe_info
short_description: Ask an endpoint several times whether it answers well, and who does
version_added: 1.0.0
author:
  - The multicompute.spin authors (@multicompute)
description:
  - Sends GET requests to a URL, each on a connection of its own, so that a load balancer shares
    them out.
  - An answer that is not as O(probes) want it is a failure, and so is none. The module itself does
    not fail then. It gives up when three requests in a row got no answer.
  - Where answers have the headers C(x-served-by), C(x-release) and C(x-instance), it counts them by
    these, too.
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
  url:
    description: What to ask for. With O(probes), their paths take the place of its path.
    type: str
    required: true
  probes:
    description:
      - What to ask for, in turn, and which answer is a good one.
      - Not set, it is the path of O(url), and every answer from 200 to 499 is a good one.
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
  headers:
    description: Headers that each request has.
    type: dict
  requests:
    description: How many times.
    type: int
    default: 30
  stop_at_failure:
    description: Ends at the first answer that is not a good one.
    type: bool
    default: false
  concurrency:
    description: How many requests are on their way at the same time.
    type: int
    default: 1
  timeout:
    description: How many seconds each answer may take.
    type: float
    default: 5
"""

EXAMPLES = r"""
- name: Wait until every primitive serves the new release
  multicompute.spin.endpoint_probe_info:
    url: http://127.0.0.1:8080/
  register: probe
  until: >-
    probe.failures == 0 and probe.releases == ['1.1.0']
    and groups.primitives | difference(probe.served_by.keys()) == []
  retries: 10
  delay: 1

- name: Prove that this target group serves the shop, with a rule of the load balancer for it alone
  multicompute.spin.endpoint_probe_info:
    url: http://127.0.0.1:8080
    headers:
      x-canary: always
    probes:
      - {path: /, status: "200", text: Welcome}
      - {path: /cart, status: "200,302"}
    stop_at_failure: true
  register: probe
  failed_when: probe.failures > 0
"""

RETURN = r"""
url:
  description: What was asked for.
  returned: success
  type: str
  sample: http://127.0.0.1:8080/
requests:
  description: How many requests were sent.
  returned: success
  type: int
  sample: 30
served_by:
  description: Good answers by the name of who sent them, V(unknown) for those that do not say.
  returned: success
  type: dict
  sample:
    ec2: {requests: 10, releases: [1.0.0], instances: [i-0123456789abcdef0], p50_ms: 2.4}
    lambda: {requests: 20, releases: [1.0.0], instances: [a1b2c3], p50_ms: 6.1}
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
  sample: 3.2
slowest_ms:
  description: The longest time to a good answer in milliseconds, or null if there was none.
  returned: success
  type: float
  sample: 9.7
failed_by:
  description:
    - Requests that got no good answer, by the name of who sent the bad one, V(unknown) where the
      load balancer or nobody answered.
  returned: success
  type: dict
  sample: {unknown: 1}
failures:
  description: How many requests got no good answer.
  returned: success
  type: int
  sample: 0
first_failure:
  description: The first bad answer, or why there was none. Null if all were good.
  returned: success
  type: dict
  sample:
    path: /
    expected: 200 with 'Welcome'
    status: 502
    headers: {content-type: text/html}
    body: Bad Gateway
    error: null
"""

from http.client import HTTPConnection, HTTPSConnection
from urllib.parse import urlsplit

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.multicompute.spin.plugins.module_utils._probe import (
    PROBES,
    Answer,
    Probe,
    ask,
    ask_all,
    check_options,
    probes_of,
    summary,
)

CONNECTIONS = {"http": HTTPConnection, "https": HTTPSConnection}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "probes": PROBES,
            "headers": {"type": "dict"},
            "requests": {"type": "int", "default": 30},
            "stop_at_failure": {"type": "bool", "default": False},
            "concurrency": {"type": "int", "default": 1},
            "timeout": {"type": "float", "default": 5.0},
        },
        supports_check_mode=True,
    )
    params = module.params
    url = urlsplit(params["url"])
    if url.scheme not in CONNECTIONS or not url.hostname:
        module.fail_json(msg=f"url is {params['url']!r}, it must be like http://host:port/path")
    check_options(module, "requests", "concurrency", "timeout")
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    probes = probes_of(module) or [Probe(path)]
    headers = {name: str(value) for name, value in (params["headers"] or {}).items()}
    connect = CONNECTIONS[url.scheme]

    def once(number: int) -> Answer:
        connection = connect(url.netloc, timeout=params["timeout"])
        return ask(connection, probes[number % len(probes)], headers)

    answers = ask_all(once, params["requests"], params["stop_at_failure"], params["concurrency"])
    module.exit_json(changed=False, url=params["url"], **summary(answers))


if __name__ == "__main__":
    main()
