"""Settings of a YAML file as frozen dataclasses: a key that is not known is an error with the nearest that is."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from vicinal.errors import InvalidData

T = TypeVar("T")


def nearest(name: str, known: Iterable[str]) -> str:
    """What a misspelt name was to be, as the end of a message; all names where nothing is near.

    >>> nearest("epoch", ["epochs", "seed"])
    'did you mean epochs?'
    >>> nearest("x", ["epochs", "seed"])
    'there are epochs, seed'
    """
    names = list(known)
    plain = {plainly(one): one for one in reversed(names)}
    found = difflib.get_close_matches(plainly(name), plain, n=1)
    there = "there is" if len(names) == 1 else "there are"
    return f"did you mean {plain[found[0]]}?" if found else f"{there} {', '.join(names)}"


def plainly(name: str) -> str:
    """A name without case, underscores and hyphens.

    >>> plainly("Online-Contrastive_loss")
    'onlinecontrastiveloss'
    """
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")


def mapping(given: Any, at: str) -> dict[str, Any]:
    """A mapping with names as keys.

    Raises:
        InvalidData: it is something else.
    """
    if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
        raise InvalidData(f"{at} must be a mapping of names to values, not {given!r}")
    return dict(given)


def check_keys(given: Iterable[str], known: Iterable[str], at: str) -> None:
    """Every key is one that is known.

    Raises:
        InvalidData: one is not; the nearest is named.
    """
    names = list(known)
    for key in given:
        if key not in names:
            raise InvalidData(f"{at} has no {key!r}: {nearest(key, names)}")


def settings(kind: type[T], given: Any, at: str) -> T:
    """A dataclass from a mapping, each value of its field's type.

    Args:
        kind: a dataclass of plain types.
        given: what a file has there.
        at: what the place is called in messages.

    Raises:
        InvalidData: not a mapping, an unknown or missing key, or a value of another type.
    """
    found = mapping(given, at)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    check_keys(found, fields, at)
    for name, field in fields.items():
        if name not in found and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise InvalidData(f"{at} needs {name!r}")
    hints = typing.get_type_hints(kind)
    return kind(**{name: fitting(value, hints[name], f"{at}.{name}") for name, value in found.items()})


def fitting(value: Any, hint: Any, at: str) -> Any:
    """A value as a type hint has it: 1 is a float too, and so is the text "2e-5", which YAML takes for a text.

    Raises:
        InvalidData: it does not fit.
    """
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        for part in parts:
            try:
                return fitting(value, part, at)
            except InvalidData:
                continue
    elif origin is typing.Literal and value in parts:
        return value
    elif origin is list and isinstance(value, (list, tuple)):
        return [fitting(one, parts[0], f"{at}[{i}]") for i, one in enumerate(value)]
    elif origin is dict and isinstance(value, Mapping):
        return {key: fitting(one, parts[1], f"{at}.{key}") for key, one in mapping(value, at).items()}
    elif hint is float and not isinstance(value, bool):
        number = _number(value)
        if number is not None:
            return number
    elif isinstance(hint, type) and isinstance(value, hint) and not (isinstance(value, bool) and hint is not bool):
        return value
    near = difflib.get_close_matches(str(value), _choices(hint), n=1)
    meant = f": did you mean {near[0]}?" if near else ""
    raise InvalidData(f"{at} must be {_said(hint)}, not {value!r}{meant}")


def _choices(hint: Any) -> list[str]:
    """The values that a type names."""
    parts = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Literal:
        return [str(part) for part in parts]
    return [choice for part in parts for choice in _choices(part)]


def _number(value: Any) -> float | None:
    if isinstance(value, (int, float)):
        return float(value)
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return None
    return None


_WORDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", type(None): "nothing"}


def _said(hint: Any) -> str:
    """A type in words."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_said(part) for part in parts if part is not type(None))
    if origin is typing.Literal:
        return f"one of {', '.join(map(str, parts))}"
    if origin is list:
        return f"a list, each {_said(parts[0])}"
    return "a mapping" if origin is dict else _WORDS.get(hint, getattr(hint, "__name__", str(hint)))
