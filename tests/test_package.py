"""The package as a whole: lazy names, complete distributions, and a version from git's tags."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from configparser import ConfigParser
from email import message_from_string
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
        _ = attncc.atention


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


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("distributions")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def wheel(distributions: Path) -> ZipFile:
    [path] = distributions.glob("attncc-*.whl")
    return ZipFile(path)


def shipped() -> set[str]:
    """Return the files that belong into a wheel, as they are named there."""
    families = sorted((ROOT / "plugins").glob("attncc_*"))
    places = {"attncc": ROOT / "attncc", "attncc/search_spaces": ROOT / "search_spaces"}
    places |= {family.name: family for family in families}
    return {
        f"{name}/{path.relative_to(place).as_posix()}"
        for name, place in places.items()
        for path in place.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_a_wheel_has_all_code_types_and_data_and_nothing_else(wheel: ZipFile) -> None:
    names = set(wheel.namelist())
    assert {"attncc/py.typed", "attncc/__init__.pyi", "attncc_basic/__init__.py"} <= shipped()
    assert {name for name in names if ".dist-info/" not in name} == shipped()


def test_every_entry_point_of_a_wheel_leads_to_a_module_in_it(wheel: ZipFile) -> None:
    names = set(wheel.namelist())
    [listed] = [name for name in names if name.endswith("/entry_points.txt")]
    parser = ConfigParser(delimiters="=")
    parser.read_string(wheel.read(listed).decode())
    modules = {target.partition(":")[0].replace(".", "/") for group in parser.values() for target in group.values()}
    assert len(modules) > 10
    assert [one for one in modules if not {f"{one}.py", f"{one}/__init__.py"} & names] == []


def test_metadata_has_the_readme_the_license_and_the_extras(wheel: ZipFile) -> None:
    [named] = [name for name in wheel.namelist() if name.endswith("/METADATA")]
    metadata = message_from_string(wheel.read(named).decode())
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert str(metadata.get_payload()).strip() == (ROOT / "README.md").read_text("utf-8").strip()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert sorted(metadata.get_all("Provides-Extra") or []) == sorted(extras)
    assert any(name.endswith(f"/licenses/{metadata['License-File']}") for name in wheel.namelist())


def test_a_source_distribution_has_what_tests_and_documentation_need(distributions: Path) -> None:
    [archive] = distributions.glob("attncc-*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    wanted = {"attncc/__init__.pyi", "tests/test_package.py", "docs/index.md", "check", "changes/.gitignore"}
    assert wanted - names == set()


def version_in(folder: Path) -> str:
    build = [sys.executable, "-m", "hatchling", "version"]
    return subprocess.run(build, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def git(folder: Path, *arguments: str) -> None:
    person = ["-c", "user.name=attncc", "-c", "user.email=attncc@example.org", "-c", "tag.gpgSign=false"]
    subprocess.run(["git", *person, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder that is built as attncc is, without git."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_a_tree_without_git_has_the_fallback_version(tree: Path) -> None:
    assert version_in(tree) == "0.1.0"


def test_a_version_is_that_of_the_last_tag_of_a_version(tree: Path) -> None:
    git(tree, "init", "--quiet")
    git(tree, "add", "pyproject.toml")
    git(tree, "commit", "--quiet", "--message", "one", "--no-gpg-sign")
    git(tree, "tag", "2-is-no-version")
    assert re.fullmatch(r"0\.1\.1\.dev1\+g[0-9a-f]+", version_in(tree))
    git(tree, "tag", "v7.1.0")
    assert version_in(tree) == "7.1.0"
    git(tree, "commit", "--quiet", "--message", "two", "--no-gpg-sign", "--allow-empty")
    assert re.fullmatch(r"7\.1\.1\.dev1\+g[0-9a-f]+", version_in(tree))


def test_every_fragment_of_the_changelog_is_of_a_known_type() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["towncrier"]
    types = {one["directory"] for one in settings["type"]}
    fragments = [path.name for path in (ROOT / settings["directory"]).glob("*") if path.name != ".gitignore"]
    assert [name for name in fragments if not re.fullmatch(rf"(\+[\w-]+|\d+)\.({'|'.join(types)})\.md", name)] == []
    assert settings["start_string"] in (ROOT / settings["filename"]).read_text("utf-8")
