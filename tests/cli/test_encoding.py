"""Text in encodings that lack its characters."""

from __future__ import annotations

import io

import pytest

from attncc.cli.encoding import spell


@pytest.mark.parametrize(
    ("text", "encoding", "found"),
    [
        ("A⁽¹⁾ᵢ = { j : i − 2 ≤ j ∧ j ≠ 3 }", "ascii", "A(1)i = { j : i - 2 <= j and j != 3 }"),
        ("µ² ≥ ü", "latin-1", "µ² >= ü"),
        ("▀▄█ 語", "ascii", "^_# ?"),
        ("a\udcc3b", "utf-8", "a?b"),
        ("≤", "utf-8", "≤"),
    ],
)
def test_missing_characters_are_spelled_in_ascii(text: str, encoding: str, found: str) -> None:
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding=encoding)
    spell(stream)
    stream.write(text)
    stream.flush()
    assert written.getvalue().decode(encoding) == found


def test_streams_without_an_encoding_are_left_alone() -> None:
    spell(None)
    stream = io.StringIO()
    spell(stream)
    assert stream.write("≤") == 1
