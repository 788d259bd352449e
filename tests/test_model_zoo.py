"""MODEL_ZOO.md is what the manifest says."""

import importlib.util
import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def workshop(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "weights" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_page_is_the_one_the_script_writes():
    page = (ROOT / "MODEL_ZOO.md").read_text(encoding="utf-8")
    assert workshop("model_zoo").page() == page, "run: python weights/model_zoo.py > MODEL_ZOO.md"
    assert page.count("\n| `") == 150


def test_manifest_is_in_the_form_the_workshop_writes():
    records = workshop("records")
    text = records.MANIFEST.read_text(encoding="utf-8")
    assert records.text_of(json.loads(text)) == text
