"""The rules of the source tree: one class a name, short files, a glossary that names classes that exist."""

from __future__ import annotations

import re
from pathlib import Path

import layers

import attncc
import attncc.distributed
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
    modules = (attncc, attncc.distributed, attncc.targets, attncc.testing)
    names = {f"{module.__name__}.{name}" for module in modules for name in module.__all__}
    assert names - listed == {"attncc.__version__", "attncc.distributed", "attncc.targets"}
