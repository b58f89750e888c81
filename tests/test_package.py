"""The package as a whole: lazy names, and a complete wheel."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
from pathlib import Path
from types import ModuleType
from zipfile import ZipFile

import pytest

import attncc

ROOT = Path(__file__).parents[1]


def test_every_public_name_exists() -> None:
    assert [name for name in attncc.__all__ if not hasattr(attncc, name)] == []
    assert set(attncc.__all__) <= set(dir(attncc))


def test_unknown_names_raise_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="atention"):
        _ = attncc.atention  # type: ignore[attr-defined]


@pytest.mark.parametrize("package", [attncc, attncc.distributed, attncc.interop, attncc.nn])
def test_public_names_equal_those_of_the_stub(package: ModuleType) -> None:
    """Each is imported as itself, which is how a stub exports a name."""
    lines = Path(package.__file__ or "").with_suffix(".pyi").read_text().splitlines()
    exported = [found.group(1) for line in lines if (found := re.fullmatch(r"from \.[\w.]* import (\w+) as \1", line))]
    assert sorted(exported) == sorted(package.__all__)
    assert len(exported) == sum(line.startswith("from") for line in lines)


def test_importing_attncc_imports_nothing_heavy() -> None:
    heavy = "{'torch', 'sympy', 'numpy', 'networkx', 'triton'}"
    program = f"import sys, attncc, attncc.interop; print(sorted({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_wheel_includes_code_types_plugins_and_search_spaces(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    [wheel] = tmp_path.glob("attncc-*.whl")
    names = set(ZipFile(wheel).namelist())
    assert {
        "attncc/runtime/api.py",
        "attncc/__init__.pyi",
        "attncc/distributed/__init__.pyi",
        "attncc/py.typed",
        "attncc/visualization/page.js",
    } <= names
    families = {f"{path.name}/__init__.py" for path in (ROOT / "plugins").glob("attncc_*")}
    assert len(families) > 1
    assert families <= names
    assert any("search_spaces" in name for name in names)
    assert any(name.startswith("attncc/targets/") and name.endswith(".toml") for name in names)
    outside = ("tests/", "bench/", "attncc_template", "template", "backend_template")
    assert not any(name.startswith(outside) for name in names)


def test_the_source_distribution_includes_the_stub(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    [archive] = tmp_path.glob("attncc-*.tar.gz")
    with tarfile.open(archive) as opened:
        assert any(name.endswith("/attncc/__init__.pyi") for name in opened.getnames())
