"""Notebooks as executed pages, from the scripts in docs/notebooks:

python docs/notebook_pages.py

runs each and writes it beside the script as a page, NAME.md, and as a notebook to download, NAME.ipynb. It also writes
the page of `attncc show --html` that one of them links to. Cells of a script begin with `# %%`, those of text with
`# %% [markdown]`, as editors and jupytext have them.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import attncc
from attncc.visualization import page

FOLDER = Path(__file__).with_name("notebooks")
#: The page of a pattern that readers can click through, and what it shows.
PAGE = FOLDER / "strided.html"
PATTERN, LENGTH, TOPOLOGY = attncc.load("strided", l=128), 4096, "8xh100"


@dataclass
class Cell:
    """A cell: text, or code with what it printed and what its last expression is."""

    source: str
    is_code: bool
    printed: str = ""
    value: Any = None

    def run(self, names: dict[str, Any]) -> None:
        """Run the code; keep what it prints and returns."""
        *statements, last = ast.parse(self.source).body
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            if isinstance(last, ast.Expr):
                exec(compile(ast.Module(statements, []), "cell", "exec"), names)
                self.value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
            else:
                exec(compile(ast.Module([*statements, last], []), "cell", "exec"), names)
        self.printed = printed.getvalue()

    @property
    def html(self) -> str | None:
        """The value as a notebook shows it; None where it has only a text."""
        shown = getattr(self.value, "_repr_html_", None)
        return shown() if shown else None

    def markdown(self) -> str:
        """Return the cell as a part of a page."""
        if not self.is_code:
            return self.source
        text = self.printed + ("" if self.value is None or self.html else repr(self.value))
        said = f"```text\n{text.rstrip()}\n```" if text else ""
        return "\n\n".join(filter(None, [f"```python\n{self.source}\n```", said, self.html]))

    def notebook(self, number: int) -> dict[str, Any]:
        """Return the cell in the notebook format."""
        lines = self.source.splitlines(keepends=True)
        if not self.is_code:
            return {"cell_type": "markdown", "id": f"cell-{number}", "metadata": {}, "source": lines}
        printed = {"output_type": "stream", "name": "stdout", "text": self.printed.splitlines(keepends=True)}
        data = {"text/plain": repr(self.value)} | ({"text/html": self.html} if self.html else {})
        value = {"output_type": "execute_result", "execution_count": None, "metadata": {}, "data": data}
        outputs = [printed] * bool(self.printed) + [value] * (self.value is not None)
        about = {"cell_type": "code", "id": f"cell-{number}", "metadata": {}, "execution_count": None}
        return about | {"source": lines, "outputs": outputs}


def cells(script: Path) -> list[Cell]:
    """Return the cells of a script, run one after the other."""
    _, *parts = re.split(r"^# %%(.*)\n", script.read_text("utf-8"), flags=re.M)
    names: dict[str, Any] = {"__name__": "__main__"}
    found = []
    for kind, source in zip(parts[::2], parts[1::2], strict=True):
        is_code = kind.strip() != "[markdown]"
        text = source.strip() if is_code else re.sub(r"^# ?", "", source.strip(), flags=re.M)
        found.append(Cell(text, is_code))
        if is_code:
            found[-1].run(names)
    return found


def written(script: Path) -> dict[Path, str]:
    """Return the files that a script becomes."""
    found = cells(script)
    made = [each.notebook(number) for number, each in enumerate(found)]
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": kernel, "cells": made}
    parts = ["<!-- Written by docs/notebook_pages.py -->", *(each.markdown() for each in found)]
    download = f"This page is a notebook, run from top to bottom: [{script.stem}.ipynb]({script.stem}.ipynb)."
    return {
        script.with_suffix(".md"): "\n\n".join([*parts, download]) + "\n",
        script.with_suffix(".ipynb"): json.dumps(notebook, indent=1, ensure_ascii=False) + "\n",
    }


def scripts() -> list[Path]:
    """Return the scripts of notebooks, sorted."""
    return sorted(FOLDER.glob("*.py"))


if __name__ == "__main__":
    for script in scripts():
        for path, text in written(script).items():
            path.write_text(text, "utf-8")
    page.save(attncc.plan(PATTERN, LENGTH, target="cpu"), PAGE, TOPOLOGY)
