"""The templates of a plugin and of a backend as third parties use them: built, installed, found and tested."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PLUGINS = Path(__file__).parents[2] / "plugins"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the templates' wheels and install them into a folder of their own."""
    wheels, site = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("site")
    for template in ("template", "backend_template"):
        build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(wheels)]
        subprocess.run([*build, str(PLUGINS / template)], check=True, capture_output=True)
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", str(site)]
    subprocess.run([*pip, *map(str, wheels.glob("*.whl"))], check=True, capture_output=True)
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
    test = str(PLUGINS / "template" / "tests" / "test_template.py")
    assert "1 passed" in run(site, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, test)


def test_the_backend_of_the_template_is_found(site: Path) -> None:
    program = "from attncc import backends; print(backends.names(), dict(backends.report())['sdpa'])"
    assert run(site, "-c", program).strip() == "['reference', 'sdpa', 'torch', 'triton'] None"


def test_the_backend_of_the_template_conforms(site: Path) -> None:
    test = str(PLUGINS / "backend_template" / "tests" / "test_conformance.py")
    assert " passed in " in run(site, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, test)


def test_the_template_is_not_part_of_attncc() -> None:
    program = "from attncc.frontend.plugins import PATTERNS; print([p.name for p in PATTERNS.plugins()])"
    assert (
        "template"
        not in subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    )
