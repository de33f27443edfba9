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

import time
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from statistics import median
from typing import Any, NamedTuple
from urllib.parse import SplitResult, urlsplit

from ansible.module_utils.basic import AnsibleModule

GIVE_UP_AFTER = 3
BODY_SHOWN = 500
CONNECTIONS = {"http": HTTPConnection, "https": HTTPSConnection}


class Answer(NamedTuple):
    milliseconds: float = 0
    status: int | None = None
    headers: dict[str, str] = {}
    body: str = ""
    error: str | None = None

    @property
    def is_good(self) -> bool:
        return self.status is not None and self.status < 400


def ask(url: SplitResult, timeout: float) -> Answer:
    connection = CONNECTIONS[url.scheme](url.netloc, timeout=timeout)
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    start = time.perf_counter()
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        response = connection.getresponse()
        body = response.read()
    except (OSError, HTTPException) as error:
        return Answer(error=f"{type(error).__name__}: {error}")
    finally:
        connection.close()
    milliseconds = (time.perf_counter() - start) * 1000
    headers = {name.lower(): value for name, value in response.getheaders()}
    text = body[:BODY_SHOWN].decode(errors="replace")
    return Answer(milliseconds, response.status, headers, text)


def probe(url: SplitResult, requests: int, timeout: float) -> list[Answer]:
    answers: list[Answer] = []
    while len(answers) < requests:
        answers.append(ask(url, timeout))
        last = answers[-GIVE_UP_AFTER:]
        if len(last) == GIVE_UP_AFTER and all(answer.status is None for answer in last):
            break
    return answers


def median_ms(answers: list[Answer]) -> float | None:
    return round(median(answer.milliseconds for answer in answers), 1) if answers else None


def values(answers: list[Answer], header: str) -> list[str]:
    return sorted({answer.headers[header] for answer in answers if header in answer.headers})


def summary(answers: list[Answer]) -> dict[str, Any]:
    good = [answer for answer in answers if answer.is_good]
    bad = [answer for answer in answers if not answer.is_good]
    by_name: dict[str, list[Answer]] = {}
    for answer in good:
        by_name.setdefault(answer.headers.get("x-served-by", "unknown"), []).append(answer)
    return {
        "requests": len(answers),
        "served_by": {
            name: {
                "requests": len(own),
                "releases": values(own, "x-release"),
                "instances": values(own, "x-instance"),
                "p50_ms": median_ms(own),
            }
            for name, own in sorted(by_name.items())
        },
        "releases": values(good, "x-release"),
        "p50_ms": median_ms(good),
        "failures": len(bad),
        "first_failure": shown(bad[0]) if bad else None,
    }


def shown(answer: Answer) -> dict[str, Any]:
    return {
        "status": answer.status,
        "headers": answer.headers,
        "body": answer.body,
        "error": answer.error,
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "requests": {"type": "int", "default": 30},
            "timeout": {"type": "float", "default": 5.0},
        },
        supports_check_mode=True,
    )
    params = module.params
    url = urlsplit(params["url"])
    if url.scheme not in CONNECTIONS or not url.hostname:
        module.fail_json(msg=f"url is {params['url']!r}, it must be like http://host:port/path")
    for option in ("requests", "timeout"):
        if params[option] <= 0:
            module.fail_json(msg=f"{option} is {params[option]}, it must be more than 0")
    answers = probe(url, params["requests"], params["timeout"])
    module.exit_json(changed=False, url=params["url"], **summary(answers))


if __name__ == "__main__":
    main()
