"""The exceptions that attncc raises: each says what is wrong (with the value), the rule, and the fix."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable

#: Characters of a foreign error's text that are told.
LONGEST = 2000
#: Ends the fix of an error that attncc's own plans can't cause, unless they are wrong.
REPORT = "If attncc made it, that is a bug of attncc: please report it, with this message."


class AttnccWarning(UserWarning):
    """Base of what attncc warns of itself; its text is printable, whatever a plugin or a file put in it."""

    def __init__(self, message: object) -> None:
        super().__init__(printable(message))


class AttnccError(Exception):
    """Base of all attncc errors.

    `problem` names the offending value, `rule` what must hold, `fix` what to write or do instead. They are printable,
    whatever a plugin or a file put in them.
    """

    def __init__(self, problem: str, *, rule: str = "", fix: str = "") -> None:
        self.problem, self.rule, self.fix = map(printable, (problem, rule, fix))
        super().__init__("\n".join(line for line in (self.problem, self.rule, self.fix) if line))


class PatternError(AttnccError):
    """A predicate is not a valid connectivity set."""


class ScoreError(AttnccError):
    """A score is not a valid expression."""


class ParameterError(AttnccError, ValueError):
    """A pattern or score got a parameter that is missing, unknown, of the wrong type or out of bounds."""


class TableError(AttnccError, ValueError):
    """A table, or weights, have the wrong length, dtype, shape or device."""


class ShapeError(AttnccError, ValueError):
    """Tensors or lengths that do not fit together."""


class PlanError(AttnccError):
    """No plan can be made for this pattern and shape."""


class BackendError(AttnccError):
    """A backend is unknown, unavailable, or can't take this plan."""


class ConfigError(AttnccError, ValueError):
    """A configuration has an unknown key or a value outside its range."""


class ExportError(AttnccError, ValueError):
    """A program can't be saved, or what was saved can't be read."""


class TopologyError(AttnccError, ValueError):
    """Devices and links that can't be, or that a plan doesn't fit."""


class DistributedError(AttnccError):
    """Ranks that don't fit together: a mesh, a schedule, shards, or a rank that failed.

    `rank` is the global rank that died or hangs, None where it is something else.
    """

    def __init__(self, problem: str, *, rule: str = "", fix: str = "", rank: int | None = None) -> None:
        self.rank = rank
        super().__init__(problem, rule=rule, fix=fix)


class PluginError(AttnccError):
    """A plugin is broken, missing, or clashes with another."""


def nearest(name: object, known: Iterable[str]) -> str:
    """Return "did you mean 'x'?" for the known name nearest to what was given, else the list of known names."""
    names = sorted(set(known))
    match = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    if match:
        return f"Did you mean {match[0]!r}?"
    return f"Known: {', '.join(names)}." if names else ""


def printable(text: object) -> str:
    """Return a text with its escapes, control characters and direction marks spelled out, as in \\x1b.

    Lines and tabs stay. What can't be made a text is named by its type.
    """
    said = _said(text)
    return said if said.isprintable() else "".join(map(_spelled, said))


def told(error: BaseException, most: int = LONGEST) -> str:
    """Return an error's type and text in printable characters, without a full stop; it may refuse to say either."""
    said = f"{printable(type(error).__name__)}: {printable(error)}".strip().rstrip(".:")
    return said if len(said) <= most else f"{said[:most]}..."


def _said(value: object) -> str:
    try:
        return str.__str__(value) if isinstance(value, str) else str.__str__(str(value))
    except KeyboardInterrupt:
        raise
    except BaseException:  # what a plugin's error does when it is asked for its text may be anything
        return f"<a {type(value).__name__} that has no text>"


def _spelled(character: str) -> str:
    if character.isprintable() or character in "\n\t":
        return character
    if unicodedata.category(character) == "Zs":  # a space of another width
        return " "
    return character.encode("unicode_escape").decode("ascii")
