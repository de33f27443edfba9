# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Python imports this at its start when the folder is on PYTHONPATH: each AWS request of that
process is written to the file AWS_REQUESTS_FILE names, one JSON object on a line.

Modules run in processes of their own, so nothing outside them sees what they ask of botocore.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from typing import Any


def record(params: dict[str, Any], model: Any, **_more: Any) -> None:
    request = {
        "service": model.service_model.service_name,
        "operation": model.name,
        # Uploaded content and dates: their type is what the model says something about.
        "params": json.loads(json.dumps(params, default=str)),
    }
    # One write, so that processes side by side do not mix their lines.
    with open(os.environ["AWS_REQUESTS_FILE"], "ab", buffering=0) as file:
        file.write(json.dumps(request).encode() + b"\n")


class RecordingFinder:
    """Lets botocore.session be imported as ever, and has each client it creates record.

    Most Python processes never import it, and importing it takes long.
    """

    def find_spec(self, name: str, *_where: Any) -> Any:
        if name != "botocore.session":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None:
            return None
        load = spec.loader.exec_module

        def load_and_wrap(module: Any) -> None:
            load(module)
            create = module.Session.create_client

            def create_client(*args: Any, **kwargs: Any) -> Any:
                client = create(*args, **kwargs)
                # Last, after botocore's own handlers have filled in what it fills in.
                client.meta.events.register_last("before-parameter-build", record)
                return client

            module.Session.create_client = create_client

        spec.loader.exec_module = load_and_wrap
        return spec


if os.environ.get("AWS_REQUESTS_FILE"):
    sys.meta_path.insert(0, RecordingFinder())
