"""The walls of the house: who may import whom, what an import costs, and that it does nothing else."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

import slowfast_hub

PACKAGE = Path(slowfast_hub.__file__).resolve().parent
ENTRANCES = {"__init__.py", "__main__.py"}  # the two files that may look into any room
FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if str(path.relative_to(PACKAGE)) not in ENTRANCES]

# Which rooms of ours a room may import (docs/architecture.md). Nobody imports apps or trainer, but for one door below.
BELOW = {"spec", "models", "people", "video", "transforms", "zoo", "predict"}
ROOMS: dict[str, set[str]] = {
    "spec": set(),
    "models": {"spec"},
    "people": {"spec"},
    "video": {"spec"},
    "transforms": {"spec"},
    "zoo": {"spec", "models"},
    "predict": {"spec", "models", "people", "video", "transforms", "zoo"},
    "trainer": BELOW,
    "apps": BELOW,
}
# Which packages of others a room may import when it is imported itself; torch everywhere but in apps.
AT_ONCE: dict[str, set[str]] = {
    "people": {"torch", "numpy"},
    "video": {"torch", "numpy", "av"},
    "transforms": {"torch", "numpy"},
    "trainer": {"torch", "numpy"},
    "apps": {"typer", "rich"},
}
# ... and which inside functions only.
INSIDE: dict[str, set[str]] = {
    "video": {"torchcodec"},
    "predict": {"numpy"},
    "models": {"torchvision"},
    "people": {"torchvision"},
    "transforms": {"torchvision"},
    "zoo": {"safetensors", "huggingface_hub", "filelock", "timm"},
    "trainer": {
        *("accelerate", "timm", "torchvision", "sklearn", "torchmetrics", "matplotlib"),
        *("PIL", "numpy", "psutil", "rich"),
    },
    "apps": {"torch", "torchvision", "av", "PIL", "numpy", "huggingface_hub", "safetensors", "accelerate"},
}


class Import(NamedTuple):
    module: str  # with the name taken from it: "slowfast_hub.spec.Arch"
    inside: bool  # in a function, or for the type checker alone
    line: int


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[Import]:
    """Every import of a file, those for the type checker included."""
    waiting: list[tuple[ast.AST, bool]] = [(ast.parse(path.read_text(encoding="utf-8")), False)]
    while waiting:
        node, inside = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, inside, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parent = "." * node.level + (node.module or "")
            yield from (Import(f"{parent}.{alias.name}", inside, node.lineno) for alias in node.names)
        deeper = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        deeper = deeper or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
        waiting += [(child, deeper) for child in ast.iter_child_nodes(node)]


def ours(found: Import) -> str | None:
    """The room an import leads to; "" for the package itself, None for a package of others."""
    top, *rest = found.module.split(".")
    return (rest[0] if rest else "") if top == "slowfast_hub" else None


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_room_imports_only_the_rooms_below_it(path: Path):
    room = room_of(path)
    for found in imports(path):
        door = room == "apps" and ours(found) == "trainer" and found.inside
        package = room == "apps" and ours(found) == ""  # the command line is a user of the public names
        allowed = ours(found) in {None, room} | ROOMS[room] or door or package
        assert allowed, f"{path}:{found.line}: {room} may not import {found.module}"
        assert not found.module.startswith("."), f"{path}:{found.line}: imports are absolute"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_packages_of_others_stay_in_the_rooms_that_need_them(path: Path):
    room = room_of(path)
    for found in imports(path):
        top = found.module.split(".")[0]
        if ours(found) is None and top not in sys.stdlib_module_names:
            allowed = AT_ONCE.get(room, {"torch"}) | (INSIDE.get(room, set()) if found.inside else set())
            where = "inside a function" if found.inside else "when it is imported"
            assert top in allowed, f"{path}:{found.line}: {room} may not import {top} {where}"


def test_every_file_is_in_a_room():
    assert {room_of(path) for path in FILES} <= set(ROOMS)


def test_rooms_have_no_cycles():
    tuple(TopologicalSorter(ROOMS).static_order())  # CycleError names the rooms


def test_modules_have_no_cycles():
    """The files of a room neither wait for one another in a circle, imports inside functions included."""
    dotted = {path: ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in FILES}
    names = {path: name.removesuffix(".__init__") for path, name in dotted.items()}

    def target(found: Import) -> str:
        """The file an import leads to: the longest name it begins with."""
        return max((name for name in names.values() if f"{found.module}.".startswith(f"{name}.")), key=len, default="")

    graph = {name: {target(found) for found in imports(path)} - {"", name} for path, name in names.items()}
    assert graph["slowfast_hub.zoo.registry"] == {"slowfast_hub.spec", "slowfast_hub.zoo.manifest"}
    tuple(TopologicalSorter(graph).static_order())


def test_public_names_are_complete_and_have_one_list():
    assert slowfast_hub.__all__ == sorted(slowfast_hub.__all__)
    assert set(slowfast_hub.__all__) <= set(dir(slowfast_hub))
    for name in slowfast_hub.__all__:
        assert getattr(slowfast_hub, name) is not None
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    (checked,) = (node for node in tree.body if isinstance(node, ast.If))  # if TYPE_CHECKING
    typed = {alias.asname for node in checked.body for alias in node.names}
    assert typed | {"__version__"} == set(slowfast_hub.__all__)
    with pytest.raises(AttributeError, match="no attribute 'classfy'"):
        slowfast_hub.classfy  # noqa: B018


HEAVY = {"torchvision", "timm", "av", "huggingface_hub", "accelerate", "sklearn", "typer", "rich", "safetensors"}


@pytest.mark.parametrize(
    "code",
    [
        "import slowfast_hub",
        "import slowfast_hub; slowfast_hub.create_model",
        "import slowfast_hub; slowfast_hub.list_models(); slowfast_hub.ClipSpec(); slowfast_hub.EvalTransform",
        "import slowfast_hub as sf; sf.create_model('slowfast_r50_4x16', depth=14, width=8)",
        "import slowfast_hub.predict.views, slowfast_hub.transforms.train, slowfast_hub.video.sampling",
    ],
)
def test_import_loads_nothing_heavier_than_torch(code: str):
    report = f"{code}\nimport sys\nprint(*sorted({HEAVY} & set(sys.modules)))"
    assert python(report) == ""


def test_import_changes_nothing_else():
    """Threads, warning filters, logging handlers, random numbers, environment and folder stay as they were."""
    report = """
import logging, os, random, signal, threading, warnings
import torch, numpy

def state():
    return {
        "torch threads": torch.get_num_threads(),
        "threads": threading.active_count(),
        "warnings": list(warnings.filters),
        "handlers": list(logging.root.handlers),
        "level": logging.root.level,
        "random": random.getstate(),
        "torch random": torch.get_rng_state().tolist(),
        "numpy random": numpy.random.get_state()[1].tolist(),
        "dtype": torch.get_default_dtype(),
        "grad": torch.is_grad_enabled(),
        "cudnn": torch.backends.cudnn.benchmark,
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "ctrl-c": signal.getsignal(signal.SIGINT),
    }

before = state()
import slowfast_hub
for name in slowfast_hub.__all__:
    getattr(slowfast_hub, name)
after = state()
print(*(what for what in before if before[what] != after[what]), sep=", ")
"""
    assert python(report) == ""


def test_version_is_that_of_the_project():
    import tomllib

    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == slowfast_hub.__version__


def python(code: str) -> str:
    """What a fresh Python prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False, cwd=PACKAGE.parent
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
