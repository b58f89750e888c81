"""The exceptions that attncc raises: each says what is wrong (with the value), the rule, and the fix."""

from __future__ import annotations

import difflib
import sys
import unicodedata
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., object])

#: Characters of a foreign error's text that are told.
LONGEST = 2000
#: Ends the fix of an error that attncc's own plans can't cause, unless they are wrong.
REPORT = "If attncc made it, that is a bug of attncc: please report it, with this message."


class AttnccWarning(UserWarning):
    """Base of what attncc warns of itself; its text is printable, whatever a plugin or a file put in it."""

    def __init__(self, message: object) -> None:
        super().__init__(printable(message))


class RenamedWarning(AttnccWarning, FutureWarning):
    """A name of an earlier version was used; it still works."""


class AttnccError(Exception):
    """Base of all attncc errors.

    `problem` names the offending value, `rule` what must hold, `fix` what to write or do instead. They are printable,
    whatever a plugin or a file put in them.
    """

    def __init__(self, problem: str, *, rule: str = "", fix: str = "") -> None:
        refuse_traced(type(self), problem, rule=rule, fix=fix)  # Dynamo can't trace how exceptions are made
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
    """A program or pattern can't be written in a format, or what was written can't be read."""


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


def run_by_dynamo(function: Function) -> Function:
    """Let torch.compile run a function of constants when it traces, and keep what it returned (decorator).

    torch.compiler.assume_constant_result sets the same mark, but imports torch._dynamo first, which takes seconds.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


def is_dynamo_waiting() -> bool:
    """Return whether torch.compile is tracing, and runs the caller, which a `run_by_dynamo` function is."""
    translating: Any = sys.modules.get("torch._dynamo.symbolic_convert")
    return translating is not None and getattr(translating.tls, "current_tx", None) is not None


def for_dynamo(error: Exception) -> Exception:
    """Return an error as Dynamo, which is waiting, passes it on: of its class, and of that for what can't be traced.

    Under `fullgraph=True` that ends the tracing, and the user sees the error whole. Otherwise Dynamo leaves the graph
    and runs the code as it is, which raises the error itself. One of any other class is told as a failure of Dynamo.
    """
    kind, unsupported = type(error), sys.modules["torch._dynamo.exc"].Unsupported
    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    both: Any = type(kind.__name__, (kind, unsupported), names)
    found: Exception = both.__new__(both)
    unsupported.__init__(found, str(error))
    found.__dict__.update(error.__dict__)
    return found


def refuse_traced(kind: Callable[..., Exception], problem: str, **told: str) -> None:
    """Raise an error of this kind where torch.compile traces this call; where it runs as it is, do nothing."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.compiler.is_dynamo_compiling():
        _refuse(kind, problem, **told)


@run_by_dynamo
def _refuse(kind: Callable[..., Exception], problem: str, **told: str) -> None:
    if is_dynamo_waiting():  # else it left the graph at this call
        raise for_dynamo(kind(problem, **told))


@run_by_dynamo
def nearest(name: object, known: Iterable[str]) -> str:
    """Return "did you mean 'x'?" for the known name nearest to what was given, else the list of known names."""
    names = sorted(set(known))
    match = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    if match:
        return f"Did you mean {match[0]!r}?"
    return f"Known: {', '.join(names)}." if names else ""


def check_known(name: str, value: object, known: Iterable[str], error: type[AttnccError] = ConfigError) -> None:
    """Raise an error unless a value is one of those known."""
    names = tuple(known)
    if value not in names:
        raise error(f"{name}={value!r}.", rule=f"It is one of {', '.join(names)}.", fix=nearest(value, names))


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
