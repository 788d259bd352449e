"""Training: a leaf that no other room imports. Needs `pip install "slowfast-hub[train]"`."""

from importlib.util import find_spec

MISSING = [name for name in ("accelerate", "sklearn", "torchmetrics", "matplotlib") if find_spec(name) is None]
if MISSING:
    raise ModuleNotFoundError(
        f'training needs {", ".join(MISSING)}: pip install "slowfast-hub[train]", in a clone -e ".[train]"',
        name=MISSING[0],
    )
