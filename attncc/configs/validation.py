"""Validation of files that anyone may have written: bounded, strictly typed, and never run as code."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NoReturn

from attncc.errors import ConfigError

#: Integers in files are below this, as everything that they count is.
MAX_INTEGER = 1 << 62
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_HASH = re.compile(r"[0-9a-f]{16,64}")


def decoded(text: bytes) -> object:
    """Return the JSON value of a text; raises ConfigError, also for NaN, infinities and repeated names."""
    try:
        return json.loads(text.decode(), parse_constant=_no_constant, object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as error:
        refuse(f"It isn't valid JSON: {str(error)[:200]}")


def canonical(value: object) -> str:
    """Return the canonical text of a JSON-able value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def is_digest(name: str) -> bool:
    """Return whether a file or folder may be named by a digest."""
    return re.fullmatch(r"[0-9a-f]{32}", name) is not None


def said(error: Exception) -> str:
    """Return a file's problem in one line."""
    return " ".join(filter(None, (error.problem, error.rule))) if isinstance(error, ConfigError) else f"{error}."


def digest(value: object) -> str:
    """Return the first 32 hexadecimal digits of the SHA-256 of a value's canonical text."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:32]


def record(value: object, names: Collection[str], what: str) -> dict[str, Any]:
    """Return a JSON object with exactly these names."""
    if isinstance(value, dict) and len(value) == len(names) and all(map(value.__contains__, names)):
        return dict(value)
    given = mapping(value, what)
    if set(given) != set(names):
        wrong = sorted(set(given) ^ set(names))
        refuse(f"{what} has the names {', '.join(sorted(given))[:200]}", f"{wrong[0]!r} is missing or unknown.")
    return given


def mapping(value: object, what: str, most: int = 256) -> dict[str, Any]:
    """Return a JSON object with at most `most` printable names."""
    if not isinstance(value, Mapping) or len(value) > most:
        refuse(f"{what} is {_short(value)}", f"It is an object with at most {most} names.")
    return {text(name, f"a name in {what}"): each for name, each in value.items()}


def sequence(value: object, what: str, most: int) -> Sequence[Any]:
    """Return a JSON array with at most `most` entries."""
    if not isinstance(value, list | tuple) or len(value) > most:
        refuse(f"{what} is {_short(value)}", f"It is an array of at most {most} entries.")
    return value


def text(value: object, what: str, most: int = 256) -> str:
    """Return a printable text of at most `most` characters."""
    if not isinstance(value, str) or len(value) > most or not value.isprintable():
        refuse(f"{what} is {_short(value)}", f"It is a printable text of at most {most} characters.")
    return value


def name(value: object, what: str) -> str:
    """Return a text that could name a file: letters, digits, `_`, `.` and `-`."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        refuse(f"{what} is {_short(value)}", "It is a name of up to 64 letters, digits, underscores, dots and dashes.")
    return value


def hexadecimal(value: object, what: str) -> str:
    """Return a hash, in hexadecimal digits."""
    if not isinstance(value, str) or not _HASH.fullmatch(value):
        refuse(f"{what} is {_short(value)}", "It is a hash of 16 to 64 hexadecimal digits.")
    return value


def member(value: object, what: str, known: Collection[str]) -> str:
    """Return one of the known texts."""
    if not isinstance(value, str) or value not in known:
        refuse(f"{what} is {_short(value)}", f"It is one of {', '.join(known)}.")
    return value


def integer(value: object, what: str, least: int = 0) -> int:
    """Return an integer from `least` to below 2^62."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value < MAX_INTEGER:
        refuse(f"{what} is {_short(value)}", f"It is an integer from {least} to below 2^62.")
    return value


def number(value: object, what: str) -> float:
    """Return a finite number of at least 0."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < math.inf:
        refuse(f"{what} is {_short(value)}", "It is a finite number of at least 0.")
    return float(value)


def refuse(problem: str, rule: str = "") -> NoReturn:
    """Raise ConfigError for a value that files of this kind don't have."""
    raise ConfigError(f"{problem}.", rule=rule)


def _short(value: object) -> str:
    return f"{value!r:.60}" if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"


def _no_constant(value: str) -> NoReturn:
    raise ValueError(f"{value} isn't a number")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    by_name = dict(pairs)
    if len(by_name) < len(pairs):
        raise ValueError("a name is repeated")
    return by_name
