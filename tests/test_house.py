"""The rules of the source tree: one class a name, short files, a glossary that names classes that exist."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import layers

import attncc
import attncc.distributed
import attncc.interop
import attncc.nn
import attncc.targets
import attncc.testing

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "attncc").rglob("*.py"))
#: Lines of a file, beyond which it holds two nouns.
LONGEST = 400


def test_no_file_exceeds_400_lines() -> None:
    sizes = {str(source.relative_to(ROOT)): len(source.read_text("utf-8").splitlines()) for source in SOURCES}
    assert {name: size for name, size in sizes.items() if size > LONGEST} == {}


def test_the_root_holds_four_modules() -> None:
    modules = {source.stem for source in (ROOT / "attncc").glob("*.py")}
    assert modules == {"__init__", "__main__", "errors", "version"}


def test_the_picture_of_layers_is_that_of_the_contracts() -> None:
    assert layers.PICTURE.read_text("utf-8") == layers.picture()


def test_the_reference_lists_every_public_name() -> None:
    listed = set(re.findall(r"^::: (\S+)$", (ROOT / "docs" / "reference.md").read_text("utf-8"), re.M))
    modules = (attncc, attncc.distributed, attncc.interop, attncc.like, attncc.nn, attncc.targets, attncc.testing)
    names = {f"{module.__name__}.{name}" for module in modules for name in module.__all__}
    parts = ("distributed", "interop", "like", "like.deepspeed", "nn", "targets")
    assert names - listed == {"attncc.__version__", *(f"attncc.{part}" for part in parts)}


def classes() -> Iterator[str]:
    for source in SOURCES:
        yield from (n.name for n in ast.walk(ast.parse(source.read_text("utf-8"))) if isinstance(n, ast.ClassDef))


def glossary() -> list[tuple[str, str]]:
    """Return (noun, where it is) of each row of the glossary."""
    text = (ROOT / "docs" / "glossary.md").read_text("utf-8")
    rows = [re.split(r"(?<!\\) \| ", line.strip("| ")) for line in text.splitlines() if line.startswith("| ")]
    return [(row[0], row[2] if len(row) > 2 else "") for row in rows if row[0] not in ("word", "---")]


def test_no_two_classes_share_a_name() -> None:
    assert [name for name, count in Counter(classes()).items() if count > 1] == []


def test_the_glossary_has_each_noun_once() -> None:
    nouns = Counter(noun for row, _ in glossary() for noun in re.split(r", |; ", row))
    assert [noun for noun, count in nouns.items() if count > 1] == []


def test_everything_in_the_glossary_exists() -> None:
    names = set(classes())
    for noun, where in glossary():
        for name, path in re.findall(r"`([\w.]+)` in `([\w/.]+)`", where):
            first = name.split(".")[0]
            assert first in names or first in (ROOT / path).read_text("utf-8"), f"{noun}: {name} in {path}"
        for path in re.findall(r"`(attncc/[\w/.]+)`", where):
            assert (ROOT / path).exists(), f"{noun}: {path}"


def test_the_glossary_names_the_class_of_every_package_face() -> None:
    named = {name.split(".")[0] for _, where in glossary() for name in re.findall(r"`([\w.]+)` in ", where)}
    packages = (attncc, attncc.distributed, attncc.interop, attncc.nn)
    public = {name for package in packages for name in package.__all__ if name[0].isupper()}
    assert {name for name in public if not name.endswith("Error")} - named == set()
