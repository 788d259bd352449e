"""torch.hub: every name is an entry that loads and explains itself, and nothing else is an entry.

torch.hub.list and torch.hub.help only talk to GitHub; what they do, the callables without an underscore and their
docstrings, is done here to the file itself.
"""

import importlib.util
import inspect
import os
import subprocess
import sys
import zipfile
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import save_file

from slowfast_hub.zoo.create import create_model
from slowfast_hub.zoo.manifest import WEIGHTS
from slowfast_hub.zoo.registry import ARCHS, DEFAULT_MODEL, list_models

REPO = Path(__file__).resolve().parents[1]


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A fresh Python, which knows the checkout only by what `code` does."""
    return subprocess.run(
        [sys.executable, "-c", code, str(REPO), *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=REPO.parent,
    )


@pytest.fixture(scope="module")
def hubconf() -> ModuleType:
    """hubconf.py as torch.hub imports it."""
    spec = importlib.util.spec_from_file_location("hubconf", REPO / "hubconf.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_entries_are_the_registered_names_and_predictor(hubconf: ModuleType):
    entries = [name for name in dir(hubconf) if callable(getattr(hubconf, name)) and not name.startswith("_")]
    assert sorted(entries) == sorted([*ARCHS, "predictor", "transform"])


def test_everything_else_has_a_leading_underscore(hubconf: ModuleType):
    assert {name for name in vars(hubconf) if not name.startswith("_")} == {
        *ARCHS,
        "predictor",
        "transform",
        "dependencies",
    }


@pytest.mark.parametrize("name", ARCHS)
def test_help_says_input_output_options_and_an_example(hubconf: ModuleType, name: str):
    entry, arch = getattr(hubconf, name), ARCHS[name]
    assert entry.__name__ == name
    assert list(inspect.signature(entry).parameters) == ["pretrained", "num_classes", "changes"]
    for words in (
        f"{name}: clips{', rois (N, 5) in pixels' if arch.roi else ''} in, logits out",
        "Input (B, 3, T, H, W)",
        f"T = {arch.clip.frames} frames",
        "pretrained:",
        f"num_classes: {arch.num_classes}",
        f'torch.hub.load(repo, "{name}", num_classes=10)',
        f"torch.randn(1, 3, {arch.clip.frames}, {arch.clip.crop}, {arch.clip.crop})",
        *(f"        {tag}" for tag in list_models(f"{name}.*", pretrained=True)),
    ):
        assert words in entry.__doc__


def test_help_gives_the_reported_figures_with_views_and_source(hubconf: ModuleType):
    line = (
        "slowfast_r50_8x8.fair_k400: top-1 77, top-5 92.6 on kinetics400, views 10x3 at 256 px (PySlowFast at 287ec007"
    )
    assert line in hubconf.slowfast_r50_8x8.__doc__


def test_transform_is_that_of_the_row_or_of_its_file():
    frames = torch.full((8, 300, 400, 3), 255, dtype=torch.uint8)
    load = partial(torch.hub.load, str(REPO), "transform", source="local")
    default, file, row = (load(name)(frames) for name in ("slow_r50_8x8", "slow_r50_8x8.gluon_k400", "fast_r50_32x2"))
    assert default.shape == (3, 8, 256, 256)
    assert file.shape == (3, 8, 224, 224)
    for clip in (default, file):  # the default is MMAction2's
        assert clip[0].max() == pytest.approx((1 - 0.485) / 0.229)
    assert row.max() == pytest.approx((1 - 0.45) / 0.225)  # nobody has published any


def test_pretrained_takes_a_tag():
    model = torch.hub.load(str(REPO), DEFAULT_MODEL, source="local", pretrained="hub_actions16")
    assert model.labels[0] == "bend"
    with pytest.raises(LookupError, match=r"no weights called 'slowfast_r14_4x16_w16.fair_k400'"):
        torch.hub.load(str(REPO), DEFAULT_MODEL, source="local", pretrained="fair_k400")


def test_a_zip_as_github_serves_it_loads_from_an_empty_cache(tmp_path: Path):
    """owner-repo-commit/ inside, as torch.hub unpacks it; with no other slowfast_hub on the path."""
    archive = tmp_path / "repo.zip"
    listed = subprocess.run(["git", "ls-files"], cwd=REPO, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    with zipfile.ZipFile(archive, "w") as made:
        for name in filter(None, listed):
            made.write(REPO / name, f"owner-slowfast_hub-0a1b2c3/{name}")
    with zipfile.ZipFile(archive) as unpacked:
        unpacked.extractall(tmp_path)
    code = f"""
import torch
repo = {str(tmp_path / "owner-slowfast_hub-0a1b2c3")!r}
predict = torch.hub.load(repo, "predictor", source="local", device="cpu")
print(predict(repo + "/examples/clip.mp4").top(1)[0]["label"])
import slowfast_hub
assert slowfast_hub.__file__.startswith(repo), slowfast_hub.__file__
"""
    places = {
        "TORCH_HOME": str(tmp_path / "torch"),
        "HF_HOME": str(tmp_path / "hf"),
        "PYTHONPATH": "",
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=os.environ | places, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["jack"]


def test_help_of_predictor_has_an_example(hubconf: ModuleType):
    assert 'torch.hub.load(repo, "predictor")' in hubconf.predictor.__doc__


@pytest.mark.parametrize("name", ARCHS)
def test_every_name_loads(name: str):
    with torch.device("meta"):
        model = torch.hub.load(str(REPO), name, source="local", pretrained=False, num_classes=10)
    assert model.get_classifier().out_features == 10
    assert not model.training


def test_overrides_and_their_errors_pass_through():
    small = torch.hub.load(str(REPO), "slowfast_r50_4x16", source="local", depth=14, width=8, lateral="tsample")
    assert small(torch.randn(1, 3, 8, 32, 32)).shape == (1, 400)
    with pytest.raises(TypeError, match="did you mean 'lateral'"):
        torch.hub.load(str(REPO), "slowfast_r50_4x16", source="local", latteral="none")


def test_predictor_is_the_predictor_of_the_package():
    if not any(name.startswith(DEFAULT_MODEL + ".") for name in WEIGHTS()):
        pytest.skip("the embedded weights are not recorded yet")
    predict = torch.hub.load(str(REPO), "predictor", source="local", device="cpu")
    assert type(predict).__module__ == "slowfast_hub.predict.predictor"
    frames = torch.zeros(40, 48, 64, 3, dtype=torch.uint8)
    assert len(predict(frames).top(5)) == 5


UNDECLARED = """
import sys
BLOCKED = {"av", "numpy", "torchvision", "timm", "typer", "click", "rich", "huggingface_hub", "filelock"}
BLOCKED |= {"accelerate", "sklearn", "fsspec", "yaml", "tqdm", "requests", "httpx", "packaging"}

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"{name} is not declared in hubconf.dependencies")

sys.meta_path.insert(0, Block())
import torch
repo, file, name, *pretrained = sys.argv[1:]
for entry in ("slow_r50_8x8", "slowfast_r50_4x16", "i3d_r50_8x8"):
    torch.hub.load(repo, entry, source="local", pretrained=False, num_classes=10, depth=14, width=8)
model = torch.hub.load(repo, name, source="local", pretrained=bool(pretrained), num_classes=10)
assert model(torch.randn(1, 3, 8, 32, 32)).shape == (1, 10)
model = torch.hub.load(repo, name, source="local", num_classes=10, checkpoint_path=file)
assert not BLOCKED & set(sys.modules)
"""


def test_dependencies_are_all_that_a_network_and_its_weights_need(hubconf: ModuleType, tmp_path: Path):
    assert hubconf.dependencies == ["torch", "safetensors"]
    pretrained = ["pretrained"] if any(name.startswith(DEFAULT_MODEL + ".") for name in WEIGHTS()) else []
    save_file(create_model(DEFAULT_MODEL, num_classes=10).state_dict(), tmp_path / "w.safetensors")
    done = run(UNDECLARED, str(tmp_path / "w.safetensors"), DEFAULT_MODEL, *pretrained)
    assert done.returncode == 0, done.stderr


def test_every_declared_dependency_is_needed():
    """Without safetensors no file of weights opens, though a network still builds; without torch nothing works."""
    done = run(
        "import sys; sys.modules['safetensors'] = None; sys.path.insert(0, sys.argv[1])\n"
        "from slowfast_hub.zoo.load import read_safetensors\n"
        "from pathlib import Path\n"
        "read_safetensors(Path(sys.argv[1]) / 'pyproject.toml')"
    )
    assert "ModuleNotFoundError: import of safetensors halted" in done.stderr


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """A folder that holds an older slowfast_hub."""
    (tmp_path / "slowfast_hub").mkdir()
    (tmp_path / "slowfast_hub" / "__init__.py").write_text('__version__ = "0.0.1"\n')
    return tmp_path


def test_older_package_imported_before_is_detected_and_named(older: Path):
    done = run(
        "import sys; sys.path.insert(0, sys.argv[2]); import slowfast_hub, torch\n"
        "torch.hub.load(sys.argv[1], 'slowfast_r50_4x16', source='local')",
        str(older),
    )
    assert done.returncode != 0
    message = done.stderr.strip().splitlines()[-1]
    assert message.startswith("RuntimeError: this hubconf.py belongs to slowfast_hub")
    for words in (str(REPO / "slowfast_hub"), str(older / "slowfast_hub"), " 0.0.1 ", "pip uninstall slowfast-hub"):
        assert words in message


def test_older_package_in_front_of_the_checkout_is_detected(older: Path):
    done = run(
        "import sys, runpy; sys.path[:0] = [sys.argv[2], sys.argv[1]]\nrunpy.run_path(sys.argv[1] + '/hubconf.py')",
        str(older),
    )
    assert "RuntimeError: this hubconf.py belongs to slowfast_hub" in done.stderr


def test_older_package_behind_the_checkout_does_no_harm(older: Path):
    done = run(
        "import sys; sys.path.insert(0, sys.argv[2]); import torch\n"
        "torch.hub.load(sys.argv[1], 'slowfast_r50_4x16', source='local', depth=14, width=8)",
        str(older),
    )
    assert done.returncode == 0, done.stderr
