import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import slowfast_hub
from slowfast_hub.apps.cli import app
from slowfast_hub.predict import speed
from slowfast_hub.zoo.convert.rename import LAYOUTS
from slowfast_hub.zoo.create import create_model
from slowfast_hub.zoo.registry import DEFAULT_MODEL, list_models

CLIP = str(Path(__file__).parents[2] / "examples" / "clip.mp4")


def run(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


def test_classify_prints_five_labels_the_views_and_the_time_and_names_the_kinetics_command():
    result = run("classify", CLIP)
    assert result.exit_code == 0
    assert "views 1x1" in result.stdout
    assert " s" in result.stdout.splitlines()[-1]
    assert len([line for line in result.stdout.splitlines() if " 0." in line or "1.000" in line]) >= 5
    assert "--model slowfast_r50_8x8" in result.stderr


def test_json_is_alone_on_stdout():
    result = run("classify", CLIP, "--json", "--top-k", "3", "--views", "2x1")
    (row,) = json.loads(result.stdout)
    assert row["views"] == "2x1"
    assert len(row["top"]) == 3
    assert row["model"].startswith(DEFAULT_MODEL)


def test_a_bad_file_is_one_line_and_the_others_go_on(tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_text("not a video")
    result = run("classify", str(bad), CLIP, "--json")
    assert result.exit_code == 1
    rows = json.loads(result.stdout)
    assert "error" in rows[0]
    assert "top" in rows[1]
    assert len([line for line in result.stderr.splitlines() if line.startswith("error")]) == 1


@pytest.mark.parametrize(("policy", "rows"), [("report", 2), ("skip", 1), ("raise", 0)])
def test_what_happens_after_a_bad_file_is_said(policy, rows, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_text("not a video")
    result = run("classify", str(bad), CLIP, "--json", "--on-error", policy)
    assert result.exit_code == 1
    assert len(json.loads(result.stdout)) == rows
    assert "bad.mp4" in result.stderr


def test_limits_of_files_are_options():
    result = run("classify", CLIP, "--limit", "bytes=1000")
    assert result.exit_code == 1
    assert "more than 1000" in result.stderr
    assert run("classify", CLIP, "--limit", "bytes=10000000", "--limit", "wall_s=60").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("classify", CLIP, "--model", "slowfast_r50_8x9"), "slowfast_r50_8x9"),
        (("classify", CLIP, "--views", "many"), "'centre', 'paper'"),
        (("classify", CLIP, "--device", "nonsense"), "nonsense"),
        (("classify", CLIP, "--model", "local-dir:/nowhere"), "/nowhere"),
        (("stream", CLIP, "--model", "local-dir:/nowhere"), "/nowhere"),
        (("classify", CLIP, "--on-error", "ignore"), "'raise', 'skip', 'report'"),
        (("classify", CLIP, "--scaler", "best"), "'exact', 'swscale'"),
        (("classify", CLIP, "--limit", "minutes=3"), "wall_s"),
        (("classify", CLIP, "--limit", "frames=many"), "takes a number; got 'many'"),
        (("info", "slowfast_r50_8x9"), "did you mean 'slowfast_r50_8x8'"),
        (("classify",), "videos"),
        (("nonsense",), "nonsense"),
    ],
)
def test_usage_errors_exit_with_2_and_say_what_is_wrong(arguments, said):
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def test_list_prints_every_name_one_per_line():
    assert run("list").stdout.split() == list_models()
    assert json.loads(run("list", "c2d*", "--json").stdout) == ["c2d_r50_8x8", "c2d_r50_16x4"]


def test_info_counts_parameters_of_the_built_network():
    record = json.loads(run("info", "slowfast_r50_4x16", "--json").stdout)
    assert record["parameters"] == 34_480_216
    assert record["multiply_adds"] / 1e9 == pytest.approx(36.10, abs=0.01)
    assert record["weights"] is None
    assert record["files"][:2] == ["slowfast_r50_4x16.fair_k400", "slowfast_r50_4x16.gluon_k400"]


def test_info_names_the_classes_and_the_network_of_a_file_of_weights():
    record = json.loads(run("info", "slowfast_r50_4x16.mm_k400", "--json").stdout)
    assert record["parameters"] == 34_479_288  # MMAction2's lateral connections have no batch norm
    record = json.loads(run("info", f"{DEFAULT_MODEL}.hub_actions16", "--json").stdout)
    assert record["weights"]["labels"][:3] == ["bend", "jack", "jump"]
    assert "0.12 G multiply-adds for one view of 32 x 64 x 64" in run("info", DEFAULT_MODEL).stdout


def test_doctor_names_versions_codecs_and_places():
    report = json.loads(run("doctor", "--json").stdout)
    assert report["packages"]["torch"] != "not installed"
    assert report["codecs"]["h264"] is True
    assert slowfast_hub.__version__ in report["slowfast_hub"]


def test_doctor_names_the_known_bad_kernels_of_this_installation(monkeypatch):
    there = speed.BadKernel("Conv3d", "wrong numbers", "https://example.org/1", True, lambda: True)
    elsewhere = speed.BadKernel("MatMul", "slow", "https://example.org/2", False, lambda: False)
    monkeypatch.setattr(speed, "KNOWN_BAD", (there, elsewhere))
    named = "Conv3d: wrong numbers (https://example.org/1)"
    assert json.loads(run("doctor", "--json").stdout)["known-bad kernels"] == [named]
    assert named in run("doctor").stdout


def test_python_m_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "slowfast_hub", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == f"slowfast-hub {slowfast_hub.__version__}"


def test_a_folder_that_cannot_be_read_does_not_stop_the_others(tmp_path):
    (tmp_path / "frames" / "1.png").mkdir(parents=True)
    result = run("classify", str(tmp_path / "frames"), CLIP, "--json")
    assert result.exit_code == 1
    assert ["error" in row for row in json.loads(result.stdout)] == [True, False]


def test_a_file_name_is_not_markup(tmp_path):
    path = tmp_path / "a[red].mp4"
    path.write_bytes(Path(CLIP).read_bytes())
    result = run("classify", str(path))
    assert result.exit_code == 0
    assert "[red]" in result.stdout.replace("\n", "")


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    """A checkpoint of the embedded network's size in PySlowFast's names."""
    layout = LAYOUTS["pyslowfast"]
    model = create_model("slow_r50_8x8", num_classes=5)
    path = tmp_path / "x.pyth"
    torch.save({"model_state": {layout.theirs(layout.tables[1], k): v for k, v in model.state_dict().items()}}, path)
    return path


def test_convert_prints_the_mapping_and_says_what_it_took_for_granted(checkpoint, tmp_path):
    out = tmp_path / "out.safetensors"
    result = run("convert", str(checkpoint), str(out), "--arch", "slow_r50_8x8")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert "s1.pathway0_stem.conv.weight -> pathway.stem.conv1.conv.weight" in lines
    assert len(lines) == len(create_model("slow_r50_8x8").state_dict())
    assert "not in the tensors, taken from slow_r50_8x8: clip=8 x 8 (stride) at 30 fps, 256 px" in result.stderr
    assert create_model("slow_r50_8x8", checkpoint_path=out).num_classes == 5
    back = tmp_path / "back.pyth"
    report = json.loads(run("convert", str(out), str(back), "--to", "pytorchvideo", "--json").stdout)
    assert ["pathway.stem.conv1.conv.weight", "blocks.0.conv.weight"] in report["mapping"]


def test_convert_replaces_nothing_unasked(checkpoint, tmp_path):
    before = checkpoint.read_bytes()
    for arguments in ((checkpoint,), (checkpoint, "--force")):
        result = run("convert", str(checkpoint), *map(str, arguments), "--arch", "slow_r50_8x8")
        assert result.exit_code == 2
        assert "is there already" in result.stderr
    assert checkpoint.read_bytes() == before
    (tmp_path / "there.safetensors").write_text("x")
    arguments = ("convert", str(checkpoint), str(tmp_path / "there.safetensors"), "--arch", "slow_r50_8x8")
    assert run(*arguments).exit_code == 2
    assert run(*arguments, "--force").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("x.pyth", "out.safetensors", "--arch", "slow_r50_8x9"), 2, "did you mean 'slow_r50_8x8'"),
        (("x.pyth", "out.pth"), 2, "shall hold safetensors: call it out.safetensors"),
        (("x.pyth", "out.safetensors", "--to", "onnx"), 2, "--to is one of slowfast_hub, pytorchvideo"),
        (("x.pyth", "out.safetensors"), 1, "fit slow_r50_4x16 and slow_r50_8x8"),
        (("none.pyth", "out.safetensors"), 1, "no such file"),
        ((".", "out.safetensors"), 1, "a folder; expected a checkpoint"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else "",
)
def test_convert_says_what_is_wrong(checkpoint, monkeypatch, arguments, code, said):
    monkeypatch.chdir(checkpoint.parent)
    result = run("convert", *arguments)
    assert result.exit_code == code
    assert said in result.stderr.replace("\n", " ")
    assert not (checkpoint.parent / "out.safetensors").exists()


def test_doctor_shows_the_variables_that_move_files(monkeypatch):
    monkeypatch.setenv("SLOWFAST_HUB_MIRROR", "/mirror")
    assert json.loads(run("doctor", "--json").stdout)["environment"]["SLOWFAST_HUB_MIRROR"] == "/mirror"
