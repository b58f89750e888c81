"""Foreign text is spelled out, even if reading it fails."""

from __future__ import annotations

import pytest

from attncc.errors import printable, told


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("plain ≤ text", "plain ≤ text"),
        ("two\n\tlines", "two\n\tlines"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("over\rwritten\x08", r"over\rwritten\x08"),
        ("\u202eright to left", r"\u202eright to left"),
        ("zero\u200bwidth", r"zero\u200bwidth"),
        ("\x9b31m", r"\x9b31m"),
        ("no\xa0break", "no break"),
        ("undecodable \udcff", r"undecodable \udcff"),
        (7, "7"),
    ],
)
def test_printable_spells_out_control_characters(text: object, spelled: str) -> None:
    assert printable(text) == spelled
    assert printable(spelled) == spelled


class Mute(Exception):
    """An error whose text can't be read."""

    def __str__(self) -> str:
        raise SystemExit("no")

    __repr__ = __str__


class Liar(str):
    """A string that returns another text."""

    def isprintable(self) -> bool:
        return True

    def __str__(self) -> str:
        return "\x1b[2J"


def test_objects_without_a_text_are_named_by_type() -> None:
    assert printable(Mute()) == "<a Mute that has no text>"
    assert told(Mute()) == "Mute: <a Mute that has no text>"
    assert printable(Liar("a\x1bb")) == r"a\x1bb"
    assert told(ValueError(Liar("a\x1bb"))) == r"ValueError: \x1b[2J"


def test_descriptions_of_errors_are_bounded() -> None:
    assert told(ValueError("it is wrong.")) == "ValueError: it is wrong"
    assert told(ValueError()) == "ValueError"
    assert len(told(ValueError("x" * 10**6))) < 3000
