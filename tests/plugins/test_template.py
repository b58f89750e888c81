"""The template plugin as a third party uses it: built, installed, found and tested."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TEMPLATE = Path(__file__).parents[2] / "plugins" / "template"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the template's wheel and install it into a folder of its own."""
    wheels, site = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(wheels), str(TEMPLATE)]
    subprocess.run(build, check=True, capture_output=True)
    [wheel] = wheels.glob("attncc_template-*.whl")
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", str(site), str(wheel)]
    subprocess.run(pip, check=True, capture_output=True)
    return site


def run(site: Path, *command: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(site)}
    found = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def test_the_pattern_of_the_template_is_found(site: Path) -> None:
    program = "import attncc; print(attncc.load('template:sinks', window=8), attncc.load('sinks').key)"
    assert run(site, "-c", program).startswith("sinks(window=8, sinks=4) ")
    listing = run(site, "-c", "from attncc.cli import main; main()", "list", "--json")
    assert '"plugin": "template"' in listing


def test_the_test_of_the_template_passes(site: Path) -> None:
    test = str(TEMPLATE / "tests" / "test_template.py")
    assert "1 passed" in run(site, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, test)


def test_the_template_is_not_part_of_attncc() -> None:
    program = "from attncc.frontend.plugins import PATTERNS; print([p.name for p in PATTERNS.plugins()])"
    assert (
        "template"
        not in subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    )
