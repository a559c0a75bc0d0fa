"""Imports point one way, and torch stays where it belongs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import vicinal

ROOT = Path(vicinal.__file__).parent

LAYERS = (
    ("cli",),
    ("recipes",),
    ("retrieval", "tuning", "exporting", "store", "evaluation", "cross_encoder.evaluation", "training", "datasets",
     "readers", "util", "trainer", "training_args", "sampler", "data_collator", "model_card", "backend",
     "cross_encoder.trainer", "cross_encoder.training_args"),
    ("losses", "cross_encoder.losses"),
    ("sentence_transformer", "cross_encoder", "chunked", "parallel", "selftest", "streams"),
    ("model", "familiar", "store.cache", "store.vectors"),
    ("engine", "arguments", "profiles", "hub", "cards", "torch_engine", "torch_form", "adapters"),
    ("models",),
    ("backends", "text", "loading", "report", "helpers", "workers"),
    ("networks", "similarity", "similarity_functions", "quantization"),
    ("backends.base", "backends.torch.tensors", "loading.spec", "loading.weights", "loading.folder", "loading.layout",
     "loading.exported",
     "extras", "errors", "refused", "store.files"),
)  # fmt: skip
"""A module may import from its own layer and those below. The longest name that fits a module is its own."""

TORCH = (
    "backends.torch",
    "cross_encoder.losses",
    "datasets",
    "losses",
    "models",
    "recipes",
    "torch_engine",
    "training",
)
"""Where torch may be imported: what cannot be done without it."""

ANYWHERE = ("", "util")
"""The package itself, of which only the version is read; the public names of `similarity`."""


def modules() -> dict[str, Path]:
    """Every module below vicinal: "backends.base", "" for the package itself."""
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = list(path.relative_to(ROOT).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def statements(tree: ast.AST, typing_only: bool = False) -> Iterator[tuple[ast.stmt, bool]]:
    """Every import, and whether it runs only where types are checked."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node, typing_only
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from statements(ast.Module(node.body, []), True)
            yield from statements(ast.Module(node.orelse, []), typing_only)
        else:
            yield from statements(node, typing_only)


@cache
def imports(module: str, typing_only: bool = False) -> frozenset[str]:
    """Full names that a module imports, at its top or inside a function."""
    found = set()
    for node, typed in statements(ast.parse(MODULES[module].read_text("utf-8"))):
        if typed and not typing_only:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative imports hide where things come from"
            for alias in node.names:
                inside = f"{node.module}.{alias.name}".removeprefix("vicinal.")
                found.add(f"vicinal.{inside}" if inside in MODULES else str(node.module))
    return frozenset(found)


def inner(module: str) -> set[str]:
    """Modules of vicinal's own that a module imports."""
    own = (name for name in imports(module) if name.partition(".")[0] == "vicinal")
    return {name.removeprefix("vicinal").removeprefix(".") for name in own} - {module}


def layer(module: str) -> int:
    """How far up a module is; 0 is the top."""
    places = [(len(name), i) for i, names in enumerate(LAYERS) for name in names if f"{module}.".startswith(f"{name}.")]
    assert places, f"{module} has no layer"
    return max(places)[1]


PLACED = sorted(set(MODULES) - set(ANYWHERE))


@pytest.mark.parametrize("module", PLACED)
def test_imports_point_down(module: str) -> None:
    upwards = {other for other in inner(module) if other not in ANYWHERE and layer(other) < layer(module)}
    assert upwards == set()


def test_no_module_imports_itself_through_others() -> None:
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join((*way[way.index(module) :], module))
        if module not in done:
            for other in sorted(inner(module) - set(ANYWHERE)):
                visit(other, (*way, module))
            done.add(module)

    for module in PLACED:
        visit(module, ())


@pytest.mark.parametrize("module", PLACED)
def test_torch_is_imported_in_its_own_folders_alone(module: str) -> None:
    heads = {name.partition(".")[0] for name in imports(module)}
    if not module.startswith(TORCH):
        assert heads.isdisjoint({"torch", "transformers", "sentence_transformers"})


@pytest.mark.parametrize("module", [m for m in PLACED if m.startswith("networks")])
def test_networks_know_no_backend(module: str) -> None:
    for other in inner(module):
        assert not other.startswith("backends") or other == "backends.base"
        assert not other.startswith(("text", "similarity", "engine", "model"))
    assert {name.partition(".")[0] for name in imports(module)}.isdisjoint({"openvino", "tokenizers", "safetensors"})


@pytest.mark.parametrize("module", [m for m in PLACED if m.startswith("similarity")])
def test_similarity_depends_on_arrays_alone(module: str) -> None:
    allowed = ("similarity", "errors", "extras", "backends.torch.tensors")
    assert {other for other in inner(module) if not other.startswith(allowed)} == set()


def test_what_is_imported_at_the_top_of_the_core() -> None:
    """The rest is imported by the function that needs it, so that the others do not pay for it."""
    late = {
        "torch",
        "transformers",
        "datasets",
        "accelerate",
        "pandas",
        "huggingface_hub",
        "yaml",
        "tqdm",
        "safetensors",
        "pyarrow",
        "faiss",
        "usearch",
        "pypdf",
        "redis",
        "jinja2",
    }
    for module, path in MODULES.items():
        top = set()
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.Import):
                top |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                top.add(str(node.module).partition(".")[0])
        if not module.startswith(TORCH):
            assert top.isdisjoint(late), f"{module} imports {sorted(top & late)} at its top"
        if not module.startswith(("backends.openvino", "backends.silent")):
            assert "openvino" not in top, module
        if module not in ("backends.onnx", "backends.onnx_files"):
            assert top.isdisjoint({"onnx", "onnxruntime"}), module
        if not module.startswith("cli"):
            assert top.isdisjoint({"typer", "rich"}), module


def test_nothing_is_swallowed() -> None:
    """No bare `except`, and none whose body does nothing."""
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ExceptHandler):
                assert node.type is not None, f"{module}, line {node.lineno}"
                only = node.body[0]
                assert not (len(node.body) == 1 and isinstance(only, ast.Pass)), f"{module}, line {node.lineno}"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_files_stay_small(module: str) -> None:
    assert len(MODULES[module].read_text("utf-8").splitlines()) <= 450
