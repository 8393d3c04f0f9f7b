"""What ``pip install .`` installs, as pyproject.toml tells setuptools; nothing is built and nothing downloaded."""

import tomllib
from pathlib import Path

import pytest
from setuptools import find_packages

ROOT = Path(__file__).parents[1]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]


@pytest.fixture(scope="module")
def installed():
    """Paths, from the repository's root, of all files that are installed."""
    files = set()
    for package in find_packages(str(ROOT), **SETUPTOOLS["packages"]["find"]):
        folder = ROOT / package.replace(".", "/")
        for pattern in ("*.py", *SETUPTOOLS["package-data"].get(package, ())):
            files |= {path.relative_to(ROOT).as_posix() for path in folder.glob(pattern)}
    return files


def test_all_of_the_package_is_installed_but_what_pages_share(installed):
    """Texts, scripts and styles, too; and nothing from outside the package."""
    here = {path.relative_to(ROOT).as_posix() for path in (ROOT / "odconv").rglob("*") if path.is_file()}
    expected = {path for path in here if "__pycache__" not in path and not path.startswith("odconv/ui/")}
    assert installed == expected


def test_texts_and_what_draws_are_installed_and_what_pages_share_is_not(installed):
    assert {"odconv/words/en.json", "odconv/words/zh.json"} <= installed
    for ending in (".js", ".css"):
        assert any(path.startswith("odconv/drawings/") and path.endswith(ending) for path in installed)
    assert not [path for path in installed if path.startswith("odconv/ui")]
