# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cluster of $KUBECONFIG and $KUBERNETES_CONTEXT, as its own API describes it."""

from __future__ import annotations

import os
from typing import Any

import pytest
from kubernetes import client, config


@pytest.fixture(scope="session")
def connection() -> Any:
    return config.new_client_from_config(context=os.environ["KUBERNETES_CONTEXT"])


@pytest.fixture(scope="session")
def core(connection: Any) -> Any:
    return client.CoreV1Api(connection)
