"""How many tokens a text may have, from what several files of a model say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from vicinal import report
from vicinal.errors import DamagedModel, ModelWarning
from vicinal.loading.folder import Folder
from vicinal.loading.spec import NetworkConfig
from vicinal.loading.tokenizer import TokenizerFile
from vicinal.networks.rotary import LONGEST

UNLIMITED = 1 << 30
"""Limits beyond this are how tokenizer files say that there is none."""


def of_network(parsed: Any, stated: Any, tokenizer: TokenizerFile, folder: Folder) -> tuple[NetworkConfig, int | None]:
    """The network's configuration and the tokens that a text may have.

    A table of positions ends; rotary ones go on, as far as the sentence configuration says. What the tokenizer's file
    says bounds them only from above: it often stands for no bound at all.

    Args:
        stated: by the sentence configuration.

    Raises:
        DamagedModel: a length is no positive number.
    """
    own = tokenizer.config.get("model_max_length")
    if not getattr(parsed, "stretches", False):
        return parsed, limit(stated or own, parsed.max_tokens, folder)
    most = limit(stated or own, None, folder)
    if most is None or (not stated and most > parsed.max_tokens):
        return parsed, parsed.max_tokens
    most = limit(most, LONGEST, folder)
    return replace(parsed, max_tokens=max(most or 0, parsed.max_tokens)), most


def limit(stated: Any, allowed: int | None, folder: Folder) -> int | None:
    """Tokens a text may have: what the files state, within what the position table allows.

    Raises:
        DamagedModel: it is no positive number.
    """
    if stated is None or (isinstance(stated, (int, float)) and stated > UNLIMITED):
        return allowed
    if type(stated) is not int or stated <= 0:
        raise DamagedModel(f"{folder.root}: the maximum length must be a positive number of tokens, not {stated!r}")
    if allowed is not None and stated > allowed:
        report.warn(
            f"{folder.root} states a maximum length of {stated} tokens, but its network has {allowed} positions: "
            f"texts are cut to {allowed}",
            ModelWarning,
        )
        return allowed
    return stated
