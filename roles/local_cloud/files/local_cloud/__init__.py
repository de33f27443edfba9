"""The local cloud: AWS APIs on loopback, with the data plane that MiniStack lacks."""

from __future__ import annotations
