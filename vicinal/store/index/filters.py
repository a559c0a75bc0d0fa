"""`where`: conditions on metadata, as SQL over the index's table of values.

A condition holds or does not: a field that a document has not, or of another kind than what it is compared with
(a text with a number), equals nothing and is neither less nor greater. `!=`, `nin` and `not` hold where their
opposite does not, so also where the field is missing.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vicinal.errors import InvalidFilter
from vicinal.store.index.documents import BOOLEAN, NUMBER, OTHER, TEXT, kind_of

OPERATORS = ("=", "!=", "<", "<=", ">", ">=", "in", "nin", "exists")
_MOST = 30_000
"""Values in a filter: SQLite takes 32,766."""
_DEEPEST = 50


@dataclass(frozen=True)
class Condition:
    """SQL that is true of a row of `chunk` whose document is looked for.

    Attributes:
        sql: an expression over `chunk.document`.
        values: of its placeholders.
    """

    sql: str
    values: tuple[Any, ...] = ()


def condition(where: Mapping[str, Any]) -> Condition:
    """The SQL of a filter.

    Args:
        where: `{field: value}` for equality, `{field: {operator: value, ...}}`, and `{"and": [...]}`, `{"or": [...]}`,
            `{"not": {...}}`; several keys of one mapping must all hold.

    Raises:
        InvalidFilter: it is none of these.

    >>> condition({"lang": "en"}).values
    ('lang', 3, 'en')
    """
    found = _all(where, 0)
    if len(found.values) > _MOST:
        raise InvalidFilter(f"a filter may hold {_MOST:,} values, this one has {len(found.values):,}")
    return found


def key(where: Mapping[str, Any]) -> str:
    """Tells filters apart."""
    return json.dumps(where, sort_keys=True, default=list)


def matching(db: sqlite3.Connection, found: Condition) -> list[int]:
    """The chunks of the documents that meet a condition, in no order."""
    rows = db.execute(f"SELECT id FROM chunk WHERE {found.sql}", found.values)
    return [number for (number,) in rows]


def _all(where: Any, depth: int) -> Condition:
    if not isinstance(where, Mapping):
        raise InvalidFilter(f"a filter must be a mapping such as {{'lang': 'en'}}, not {where!r}")
    if depth > _DEEPEST:
        raise InvalidFilter(f"a filter may be nested {_DEEPEST} deep")
    return _joined("AND", [_one(name, wanted, depth) for name, wanted in where.items()])


def _joined(word: str, parts: list[Condition]) -> Condition:
    if not parts:
        return Condition("1" if word == "AND" else "0")
    if len(parts) == 1:
        return parts[0]
    # In pairs of halves: SQLite bounds the depth of an expression, not its width.
    half = len(parts) // 2
    first, second = _joined(word, parts[:half]), _joined(word, parts[half:])
    return Condition(f"({first.sql} {word} {second.sql})", first.values + second.values)


def _not(part: Condition) -> Condition:
    return Condition(f"NOT {part.sql}", part.values)


def _one(name: Any, wanted: Any, depth: int) -> Condition:
    if name in ("and", "or"):
        if not isinstance(wanted, (list, tuple)):
            raise InvalidFilter(f"{name!r} takes a list of filters, not {wanted!r}")
        return _joined(name.upper(), [_all(part, depth + 1) for part in wanted])
    if name == "not":
        return _not(_all(wanted, depth + 1))
    if not isinstance(name, str):
        raise InvalidFilter(f"a field's name must be a text, not {name!r}")
    if not isinstance(wanted, Mapping):
        return _compared(name, "=", wanted)
    if not wanted:
        raise InvalidFilter(f"the filter on {name!r} is empty: give one of {', '.join(OPERATORS)}")
    return _joined("AND", [_compared(name, operator, value) for operator, value in wanted.items()])


def _compared(name: str, operator: Any, value: Any) -> Condition:
    if operator == "!=":
        return _not(_compared(name, "=", value))
    if operator == "nin":
        return _not(_compared(name, "in", value))
    if operator == "exists":
        if not isinstance(value, bool):
            raise InvalidFilter(f"'exists' on {name!r} takes True or False, not {value!r}")
        there = _values(name, "", ())
        return there if value else _not(there)
    if operator == "in":
        if not isinstance(value, (list, tuple, set, frozenset)):
            raise InvalidFilter(f"'in' on {name!r} takes a list of values, not {value!r}")
        by_kind: dict[int, list[Any]] = {}
        for one in value:
            kind, plain = _plain(name, one)
            by_kind.setdefault(kind, []).append(plain)
        return _joined("OR", [
            _values(name, f"kind = ? AND value IN ({', '.join('?' * len(plains))})", (kind, *plains))
            for kind, plains in by_kind.items()
        ])  # fmt: skip
    if operator not in OPERATORS:
        raise InvalidFilter(f"{operator!r} on {name!r} is no operator: use one of {', '.join(OPERATORS)}")
    kind, plain = _plain(name, value)
    if operator != "=" and kind not in (NUMBER, TEXT):
        what = "True or False" if kind == BOOLEAN else "None"
        raise InvalidFilter(f"{operator!r} on {name!r} compares numbers or texts, not {what}")
    return _values(name, f"kind = ? AND value {operator} ?", (kind, plain))


def _plain(name: str, value: Any) -> tuple[int, Any]:
    kind, plain = kind_of(value)
    if kind == OTHER:
        several = f"; {{{name!r}: {{'in': [...]}}}} means one of several" if isinstance(value, (list, tuple)) else ""
        raise InvalidFilter(
            f"{name!r} is compared with a text, a number, True, False or None, not with {value!r}{several}"
        )
    if isinstance(plain, int) and not -(1 << 63) <= plain < 1 << 63:
        raise InvalidFilter(f"{name!r} is compared with {plain}, which takes more than 64 bits")
    if plain != plain:
        raise InvalidFilter(f"{name!r} is compared with nan, which nothing equals")
    if isinstance(plain, str):
        try:
            plain.encode()
        except UnicodeEncodeError:
            raise InvalidFilter(f"{name!r} is compared with half of a surrogate pair, {plain!r}") from None
    return kind, plain


def _values(name: str, test: str, values: tuple[Any, ...]) -> Condition:
    """True of the chunks of documents whose field of that name passes a test."""
    where = f"field = (SELECT id FROM field WHERE name = ?){' AND ' if test else ''}{test}"
    return Condition(f"(chunk.document IN (SELECT document FROM value WHERE {where}))", (name, *values))
