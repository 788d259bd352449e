"""The official AVA evaluation, out of the wheel of mmaction2 (`pip install --no-deps mmaction2`)."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np


def official_ava() -> ModuleType | None:
    """Its module `ava_utils`; None where the wheel is not installed. Nothing else of mmaction2 is run."""
    wheel = find_spec("mmaction")
    if wheel is None or not wheel.submodule_search_locations:
        return None
    package = ModuleType("official_ava_files")  # in the place of packages whose __init__ want mmcv
    package.__path__ = [str(Path(wheel.submodule_search_locations[0]) / "evaluation" / "functional")]
    sys.modules[package.__name__] = package
    if not hasattr(np, "NAN"):
        np.NAN = np.nan  # of numpy 1, for a class without truth
    return import_module(f"{package.__name__}.ava_utils")
