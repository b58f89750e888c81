"""Names of tests: each states, in the present tense, the rule that the test holds."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = [ROOT / "tests", ROOT / "bench", *ROOT.glob("plugins/*/tests")]
#: Past tenses that aren't participles: `made` and `kept` may describe a noun, these tell a story.
PAST = {"was", "were", "had", "did", "got", "took", "gave", "came", "went", "ran", "saw", "wrote", "fell", "forgot"}
#: Words that stand in place of a subject at the beginning of a name.
VAGUE = {"it", "its", "they", "their", "this", "that", "what", "whatever", "who", "whoever", "nobody"}


def names() -> Iterator[tuple[str, list[str]]]:
    """Yield the place of each test, and the words of its name."""
    for path in chain.from_iterable(folder.rglob("*.py") for folder in FOLDERS):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                yield f"{path.relative_to(ROOT)}::{node.name}", node.name.split("_")[1:]


def test_names_of_tests_are_in_the_present_tense() -> None:
    found = dict(names())
    assert len(found) > 1000
    assert [place for place, words in found.items() if PAST & set(words)] == []


def test_names_of_tests_have_a_subject_and_a_verb() -> None:
    assert [place for place, words in names() if words[0] in VAGUE or len(words) < 2] == []
