"""The user's changes to a `config.json`: a key that nothing reads changes nothing, which is said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_FOR_OTHERS = {"label2id"}
"""Not read here, but kept for those who load a saved model."""


class Noted(dict[str, Any]):
    """A configuration that remembers which keys were asked for."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.asked: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        """As of a dict."""
        self.asked.add(key)
        return super().get(key, default)

    def __getitem__(self, key: str) -> Any:
        self.asked.add(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self.asked.add(str(key))
        return super().__contains__(key)


def check_read(overrides: Mapping[str, Any], configs: Sequence[tuple[Mapping[str, Any], Noted]]) -> None:
    """Every change must be of a key that a file has, or that somebody asked for.

    Args:
        configs: of each network, the file's own keys, and those with the changes, after everything was read.

    Raises:
        ValueError: names the keys.
    """
    idle = set(overrides) - _FOR_OTHERS
    for stated, config in configs:
        idle -= {*stated, *config.asked}
    if idle:
        raise ValueError(f"config_kwargs: nothing reads {', '.join(sorted(idle))} of this model's config.json")
