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


def test_pattern_and_backend_of_the_templates_are_found(site: Path) -> None:
    program = """
import attncc
from attncc import backends
from attncc.cli import main

print(attncc.load("template:sinks", window=8), attncc.load("sinks").key)
print(backends.names(), dict(backends.report())["sdpa"])
main()
"""
    pattern, backend, *listing = run(site, "-c", program, "list", "--json").splitlines()
    assert pattern.startswith("sinks(window=8, sinks=4) ")
    assert backend == "['reference', 'sdpa', 'torch', 'triton'] None"
    assert '"plugin": "template"' in "".join(listing)


def test_the_tests_of_the_templates_pass(site: Path) -> None:
    tests = [str(PLUGINS / name / "tests") for name in ("template", "backend_template")]
    options = "-q", "-p", "no:cacheprovider", "-c", os.devnull, "-rA"
    lines = run(site, "-m", "pytest", *options, *tests).splitlines()
    passed = {Path(line.split("::")[0]).name for line in lines if line.startswith("PASSED")}
    assert passed == {"test_template.py", "test_conformance.py"}


def test_the_template_is_not_part_of_attncc() -> None:
    program = "from attncc.frontend.plugins import PATTERNS; print([p.name for p in PATTERNS.plugins()])"
    assert (
        "template"
        not in subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    )
