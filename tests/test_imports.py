"""Imports point one way."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Module -> what it may import of odconv. A module that is not here has to be given its place.
ALLOWED = {
    "version": set(),
    "attention": set(),
    "probe": {"attention"},
    "words": set(),
    "glossary": {"words"},
    "forms": set(),
    "layer": {"attention", "forms", "probe"},
    "forge": {"attention", "layer"},
    "kernel_view": {"attention", "forge", "layer"},
    "forging_view": {"attention", "forge", "kernel_view", "layer"},
    "refusal": {"words"},
    "backbones": {"backbones", "layer", "refusal"},
    "architecture": {"backbones", "layer", "refusal"},
    "pickle_check": set(),
    "weights_file": {"pickle_check", "refusal"},
    "familiar": set(),
    "card": {"architecture", "familiar", "refusal"},
    "picture_files": {"picture_files", "words"},
    "decoding": {"picture_files"},
    "images": {"decoding", "picture_files"},
    "stimuli": set(),
    "edits": {"stimuli"},
    "checkpoint": {"architecture", "backbones", "card", "refusal", "weights_file"},
    "cost": {"layer"},
    "convert": {"attention", "cost", "layer"},
    "plugging": {"architecture", "checkpoint", "convert", "cost", "words"},
    "explain": {"attention", "forms", "layer", "probe"},
    "comparison": {"attention", "explain"},
    "response": {"attention", "card", "explain", "images", "stimuli"},
    "tasks": {"attention", "words"},
    "study": set(),
    "results": set(),
    "start": {"attention", "explain", "forge", "layer", "tasks", "words"},
    "normalize": {"attention", "layer"},
    "cluster": {"atlas", "attention", "checkpoint", "cluster", "explain", "images", "layer", "normalize"},
    "tempering": {"attention", "explain", "forge", "layer"},
    "switches": {"attention", "explain"},
    "drawings": {
        "attention",
        "comparison",
        "cost",
        "drawings",
        "edits",
        "explain",
        "forging_view",
        "kernel_use",
        "kernel_view",
        "plugging",
        "response",
        "results",
        "start",
        "stimuli",
        "switches",
        "tempering",
        "tasks",
        "words",
    },
    "atlas": {"attention"},
    "kernel_use": {"atlas"},
    "findings": {"atlas", "attention", "explain", "kernel_use", "layer", "probe", "tasks", "tempering", "words"},
    "unusual": {"atlas", "attention", "explain"},
    "export": {"attention", "cost", "drawings", "explain", "words"},
    "figures": {"attention", "drawings", "results", "words"},
    "training": {
        "architecture",
        "atlas",
        "attention",
        "backbones",
        "card",
        "checkpoint",
        "cluster",
        "convert",
        "explain",
        "familiar",
        "images",
        "layer",
        "probe",
        "training",
    },
}

# Ray comes with an extra of its own; everything else works without it.
WITH_RAY = {"odconv/cluster/__main__.py", "odconv/cluster/serving.py", "odconv/training/by_ray.py"}


def imported(path: Path) -> set[str]:
    """Dotted names of all modules that a file imports, wherever in the file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room(path: Path) -> str:
    """The room of the package that a file belongs to: ``attention``, ``drawings``, ``ui``, ..."""
    return path.relative_to(ROOT / "odconv").parts[0].removesuffix(".py")


FILES = [path for path in sorted((ROOT / "odconv").rglob("*.py")) if room(path) not in ("ui", "__init__")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_what_is_below_it(path):
    ours = {name.split(".")[1] for name in imported(path) if name.startswith("odconv.")}
    assert ours <= ALLOWED[room(path)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_streamlit_is_imported_by_the_ui_alone_and_plotly_by_figures_alone(path):
    outside = {name.partition(".")[0] for name in imported(path)}
    assert "streamlit" not in outside
    assert "plotly" not in outside or room(path) == "figures"
    assert "torch" not in outside or room(path) not in ("drawings", "export", "figures")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_ray_is_imported_by_what_needs_it_alone(path):
    ray = {name.partition(".")[0] for name in imported(path)} & {"ray", "starlette"}
    assert not ray or path.relative_to(ROOT).as_posix() in WITH_RAY


def test_pages_never_import_the_app_and_hold_no_tensors():
    for path in (ROOT / "pages").glob("*.py"):
        assert not {"app", "torch", "numpy"} & {name.partition(".")[0] for name in imported(path)}
