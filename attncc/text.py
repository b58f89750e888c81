"""Foreign text, of plugins and files, made such that a terminal prints it and does nothing else."""

from __future__ import annotations

import unicodedata

#: Characters of an error's text that are told.
LONGEST = 2000


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
