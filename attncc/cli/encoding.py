"""The notation in encodings that lack it, as those of some consoles and pipes do: spelled in ASCII."""

from __future__ import annotations

import codecs
import io
import unicodedata
from typing import TextIO

_SPELLED = {
    **{"≤": "<=", "≥": ">=", "≠": "!=", "∧": "and", "∨": "or", "¬": "not", "∞": "inf", "√": "sqrt", "∈": "in"},
    **{"−": "-", "·": "*", "±": "+-", "⌊": "floor(", "⌋": ")", "█": "#", "▀": "^", "▄": "_", "─": "-"},
    **dict.fromkeys("▁▂▃▅▆▇", "="),
}
_ERRORS = "attncc.spelled"


def spell(stream: TextIO | None) -> None:
    """Have a stream spell what its encoding lacks; None, and what isn't a file, stay as they are."""
    if isinstance(stream, io.TextIOWrapper):
        codecs.register_error(_ERRORS, _spelled)
        stream.reconfigure(errors=_ERRORS)


def _spelled(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_letter, error.object[error.start : error.end])), error.end


def _letter(character: str) -> str:
    """Return a character in ASCII: as listed, else without what makes it a variant (² is 2), else a question mark."""
    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode("ascii")
    return _SPELLED.get(character) or plain or "?"
