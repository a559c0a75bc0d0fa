"""From what the constructor is given to a model's parts: find, read, apply the user's settings."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from vicinal.errors import UnsafeModel
from vicinal.loading import support
from vicinal.loading.checkpoint import read_weights
from vicinal.loading.folder import Folder
from vicinal.loading.locate import Located, locate
from vicinal.loading.modules import Parts, read_model
from vicinal.loading.spec import Route, Transformer
from vicinal.loading.weights import Tensor
from vicinal.text.families import family_prompts

Reader = Callable[[Folder, Callable[[Folder, str], dict[str, Tensor]], Mapping[str, Any]], Parts]
"""Reads a folder, given what reads the tensors in it and the user's changes to its configuration."""

BUNDLED = Path(__file__).parent.parent / "bundled" / "model"
BUNDLED_NAME = "vicinal-static-en"


@dataclass(frozen=True)
class Opened:
    """A model that was found and read.

    Attributes:
        parts: what it is.
        located: where it was found.
        supplied: prompts of its family that its files do not state.
    """

    parts: Parts
    located: Located
    supplied: Mapping[str, str]


def open_model(
    name: str | os.PathLike[str] | None,
    *,
    revision: str | None,
    token: str | bool | None,
    cache_folder: str | os.PathLike[str] | None,
    local_files_only: bool,
    config_kwargs: Mapping[str, Any],
    bare_prefix: str = "sentence-transformers",
    reader: Reader = read_model,
    head: bool = False,
    torch: bool = False,
) -> Opened:
    """Find a model and read it; None is the bundled one.

    Args:
        bare_prefix: the organisation that a bare name belongs to.
        reader: of its folder.
        head: the reader wants a classification head.
        torch: torch may run what no network here does.

    Raises:
        ModelNotFound: no place has it. DamagedModel, UnsupportedModel, UnsafeModel: it cannot be read.
    """
    if name is None or name == BUNDLED_NAME:
        located = Located(BUNDLED, BUNDLED_NAME, "bundled", None)
    else:
        located = locate(
            name,
            revision=revision,
            token=token,
            cache_folder=cache_folder,
            local_files_only=local_files_only,
            bare_prefix=bare_prefix,
            accept=None if torch else partial(support.refuse, overrides=config_kwargs, head=head),
        )

    def other(wanted: str, at: str | None) -> Folder:
        if Path(wanted).is_absolute() and located.source != "folder":
            raise UnsafeModel(f"{located.name} is made from a folder, {wanted}: only a model given as a folder may be")
        found = locate(wanted, revision=at, token=token, cache_folder=cache_folder, local_files_only=local_files_only,
                       bare_prefix="")  # fmt: skip
        return Folder(found.folder)

    parts = reader(Folder(located.folder, other), read_weights, config_kwargs)
    stated = {key for key, prompt in parts.spec.prompts.items() if prompt}
    if stated & {"document", "passage", "corpus"}:
        stated |= {"document", "passage", "corpus"}
    supplied = {key: prompt for key, prompt in family_prompts(located.name).items() if key not in stated}
    return Opened(parts, located, supplied)


def with_max_length(route: Route, length: int | None) -> Route:
    """The route with another limit, which its network's position table must allow.

    Raises:
        ValueError: it does not, or is no positive number.
    """
    allowed = max_tokens(route)
    if length is None:
        return replace(route, max_length=allowed)
    if type(length) is not int or length < 1:
        raise ValueError(f"max_seq_length must be a positive number of tokens, not {length!r}")
    if allowed is not None and length > allowed:
        raise ValueError(f"max_seq_length={length} is more than the {allowed} positions that this model's network has")
    return replace(route, max_length=length)


def max_tokens(route: Route) -> int | None:
    """Tokens that the route's network allows, None where there is no bound."""
    first = route.modules[0]
    return first.network.max_tokens if isinstance(first, Transformer) else None
