#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: endpoint_probe_info
short_description: Ask an endpoint several times who answers
version_added: 1.0.0
author:
  - The multicompute.spin authors (@multicompute)
description:
  - Sends GET requests to a URL, one after the other, each on a connection of its own, so that a
    load balancer shares them out.
  - Counts the answers by their header C(x-served-by), and collects C(x-release) and C(x-instance).
  - An answer with a status of 400 or more is a failure, and so is none. The module itself does not
    fail then. It gives up when three requests in a row got no answer.
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
    description: What to ask for.
    type: str
    required: true
  requests:
    description: How many times.
    type: int
    default: 30
  enough:
    description:
      - Ends before O(requests) when the named one has given so many good answers from the named
        release, or when a request failed.
    type: dict
    suboptions:
      served_by:
        description: Who has to answer.
        type: str
        required: true
      release:
        description: From which release.
        type: str
        required: true
      answers:
        description: How many times.
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
  sample: {status: 502, headers: {content-type: text/html}, body: Bad Gateway, error: null}
"""

from http.client import HTTPConnection, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.multicompute.spin.plugins.module_utils._probe import (
    Answer,
    ask,
    check_options,
    probe,
    summary,
)

CONNECTIONS = {"http": HTTPConnection, "https": HTTPSConnection}


def is_enough(answers: list[Answer], enough: dict[str, Any] | None) -> bool:
    if enough is None:
        return False
    wanted = [
        answer
        for answer in answers
        if answer.served_by == enough["served_by"]
        and answer.headers.get("x-release") == enough["release"]
    ]
    return not answers[-1].is_good or len(wanted) >= enough["answers"]


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "requests": {"type": "int", "default": 30},
            "enough": {
                "type": "dict",
                "options": {
                    "served_by": {"type": "str", "required": True},
                    "release": {"type": "str", "required": True},
                    "answers": {"type": "int", "default": 1},
                },
            },
            "timeout": {"type": "float", "default": 5.0},
        },
        supports_check_mode=True,
    )
    params = module.params
    url = urlsplit(params["url"])
    if url.scheme not in CONNECTIONS or not url.hostname:
        module.fail_json(msg=f"url is {params['url']!r}, it must be like http://host:port/path")
    check_options(module)
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    connect = CONNECTIONS[url.scheme]
    answers = probe(
        lambda: ask(connect(url.netloc, timeout=params["timeout"]), path),
        params["requests"],
        lambda answers: is_enough(answers, params["enough"]),
    )
    module.exit_json(changed=False, url=params["url"], **summary(answers))


if __name__ == "__main__":
    main()
