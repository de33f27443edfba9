"""Who gets the next request: pure choices, no I/O."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, TypeVar

Key = TypeVar("Key", bound=Hashable)


class Weighted:
    """Smooth weighted round robin: exact shares over each full turn, evenly interleaved."""

    def __init__(self) -> None:
        self._weights: dict[Any, int] = {}
        self._current: dict[Any, int] = {}

    def pick(self, weights: Mapping[Key, int]) -> Key | None:
        """The next key; None when no key has a weight."""
        if weights != self._weights:
            # New weights are a new turn: what was owed under the old ones is not paid.
            self._weights = dict(weights)
            self._current = {key: 0 for key, weight in weights.items() if weight}
        if not self._current:
            return None
        for key in self._current:
            self._current[key] += weights[key]
        chosen = max(self._current, key=self._current.__getitem__)
        self._current[chosen] -= sum(weights.values())
        return chosen


def weights_of(action: Mapping[str, Any]) -> dict[str, int]:
    """Target group ARN -> weight of a forward action, in either of its two notations."""
    groups = action.get("ForwardConfig", {}).get("TargetGroups", [])
    if groups:
        return {group["TargetGroupArn"]: group["Weight"] for group in groups}
    return {action["TargetGroupArn"]: 1} if "TargetGroupArn" in action else {}


def matches(status: int, matcher: str) -> bool:
    """Whether a status is one that a health check's matcher names: `200`, `200,302`, `200-299`."""
    for part in matcher.split(","):
        low, _unused, high = part.strip().partition("-")
        if int(low) <= status <= int(high or low):
            return True
    return False
