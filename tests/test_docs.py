"""The pages for people: their paths, links and anchors exist, and their Python compiles and runs."""

from __future__ import annotations

import builtins
import os
import re
import subprocess
import symtable
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAMED = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "bench/README.md", "plugins/template/README.md")]
PAGES = [*NAMED, *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
#: What files of the repository end with; a folder ends with a slash.
SUFFIXES = (".py", ".md", ".toml", ".json", ".jinja", ".sh", ".svg", ".png", "/")


@dataclass(frozen=True)
class Block:
    """A Python block of a page, and the file that the paragraph before it names, or an empty name."""

    source: str
    file: str

    @property
    def is_self_contained(self) -> bool:
        """Whether the block defines every name that it uses."""
        return not _undefined(symtable.symtable(self.source, "block", "exec"))


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def _prose(page: Path) -> str:
    return FENCE.sub("", page.read_text("utf-8"))


def _blocks(page: Path) -> list[Block]:
    text, found = page.read_text("utf-8"), []
    for fence in FENCE.finditer(text):
        if fence[2] == "python":
            before = re.search(r"`(\w+\.py)`[^`\n]*:\n\n\Z", text[: fence.start()])
            found.append(Block(textwrap.dedent(fence[3]), before[1] if before else ""))
    return found


def _tables(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    yield table
    for child in table.get_children():
        yield from _tables(child)


def _undefined(module: symtable.SymbolTable) -> set[str]:
    """Return the names that a block reads and neither the block nor Python defines."""
    defined = {each.get_name() for each in module.get_symbols() if each.is_assigned() or each.is_imported()}
    read = {
        symbol.get_name()
        for table in _tables(module)
        for symbol in table.get_symbols()
        if table is module or symbol.is_global()
    }
    return read - defined - set(vars(builtins))


def _paths(page: Path) -> set[str]:
    """Return the paths in backticks that look like the repository's.

    A bare name of a Python file counts unless a code block mentions the module: it is the reader's own file then.
    """
    code = "".join(fence[3] for fence in FENCE.finditer(page.read_text("utf-8")))
    spans = {span for span in re.findall(r"`([^`\n]+)`", _prose(page)) if re.fullmatch(r"[\w.*-]+(/[\w.*-]+)*/?", span)}
    folders = {span for span in spans if "/" in span and (span.endswith(SUFFIXES) or _begins_in_root(span))}
    return folders | {span for span in spans if span.endswith(".py") and span.removesuffix(".py") not in code}


def _begins_in_root(span: str) -> bool:
    return (ROOT / span.split("/")[0]).exists()


def _bases(page: Path) -> list[Path]:
    """Return the folders that paths of a page start from: the root, attncc, its own, and those that it names."""
    named = [base / span for span in re.findall(r"`([\w./-]+)`", _prose(page)) for base in (ROOT, ROOT / "attncc")]
    return [ROOT, ROOT / "attncc", page.parent, *(folder for folder in named if folder.is_dir())]


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", _prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_path_of_a_page_exists(page: Path) -> None:
    bases = _bases(page)
    paths = [path.replace("NAME", "*") for path in sorted(_paths(page))]  # NAME stands for any name
    assert [path for path in paths if not any(list(base.glob(path)) for base in bases)] == []


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_link_of_a_page_leads_to_a_file_and_a_heading(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", _prose(page)):
        if re.match(r"\w+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_python_block_of_a_page_compiles(page: Path) -> None:
    for block in _blocks(page):
        compile(block.source, _name(page), "exec")


def _runnable() -> Iterator[object]:
    for page in PAGES:
        sources = [block.source for block in _blocks(page) if block.is_self_contained]
        if sources:
            compiles = any("torch.compile(" in source for source in sources)  # with a C++ compiler, for a minute
            marks = [pytest.mark.slow] if compiles else []
            if any("import transformers" in source for source in sources) and find_spec("transformers") is None:
                marks.append(pytest.mark.skip("Transformers isn't installed."))
            yield pytest.param(page, id=_name(page), marks=marks)


#: Runs files in turn, each in a process of its own, which has torch and attncc already: most of a block's time.
IN_TURN = """
import os, runpy, sys
import attncc, torch

for file in sys.argv[1:]:
    if (child := os.fork()) == 0:
        runpy.run_path(file, run_name="__main__")
        sys.exit()
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        sys.exit(f"{file} failed.")
"""


@pytest.mark.parametrize("page", list(_runnable()))
def test_self_contained_blocks_of_a_page_run_one_after_the_other(page: Path, tmp_path: Path) -> None:
    """In one folder, each in a process of its own, which is the only rank of a process group if it joins one."""
    group = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "0"}
    environment = os.environ | group | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT), *sys.path])}
    files = []
    for number, block in enumerate(_blocks(page)):
        file = tmp_path / (block.file or f"block{number}.py")
        file.write_text(block.source, "utf-8")
        files += [str(file)] * block.is_self_contained
    command = [sys.executable, "-c", IN_TURN, *files]
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
