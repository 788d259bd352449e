"""Folders of videos to folders of features: names, skipping, parts, failures, links."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from made_videos import write_counting
from typer.testing import CliRunner

from slowfast_hub.apps.features import features, find_jobs, part_of
from slowfast_hub.models import build
from slowfast_hub.predict.features import FeatureExtractor, Features, read_record, sidecar
from slowfast_hub.spec import ClipSpec, RoISpec, SlowFastArch
from slowfast_hub.zoo.hub import save_pretrained

CLIP = ClipSpec(frames=8, stride=2, short_side=36, crop=32)
app = typer.Typer()
app.command()(features)


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> str:
    """The name of a small network."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("network")
    arch = SlowFastArch(CLIP, depth=14, width=8, beta_inv=4, alpha=4, num_classes=5, zero_init_last=False)
    save_pretrained(build(arch).eval(), folder)
    return f"local-dir:{folder}"


@pytest.fixture
def videos(tmp_path) -> Path:
    """Three videos in two folders, and things that are none."""
    folder = tmp_path / "videos"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    for name, count in (("a.mp4", 48), ("a.mkv", 32), ("deep/er/b.MKV", 33), (".hidden/c.mkv", 2), (".d.mkv", 2)):
        made = write_counting(tmp_path / "made.mkv", count, fps=30)  # FFmpeg reads what is in a file, not its name
        made.rename(folder / name)
    (folder / "notes.txt").write_text("no video")
    return folder


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def files_under(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


OUTPUTS = ["a.mkv.npz", "a.mp4.npz", "deep/er/b.MKV.npz"]


def test_a_folder_keeps_its_structure_and_every_name_its_suffix(videos, tmp_path, network):
    out = tmp_path / "out"
    result = run(videos, "--out", out, "--model", network)
    assert result.exit_code == 0, result.output
    assert files_under(out) == sorted([*OUTPUTS, *(f"{name}.json" for name in OUTPUTS)])
    assert result.stdout.split() == [str(out / name) for name in OUTPUTS]
    assert "3 written, 0 there, 0 failed" in result.stderr
    shapes = {name: np.load(out / name)["features"].shape for name in OUTPUTS}
    assert shapes == {"a.mkv.npz": (1, 320), "a.mp4.npz": (2, 320), "deep/er/b.MKV.npz": (2, 320)}
    expected = FeatureExtractor(network)(videos / "a.mp4")
    assert np.array_equal(np.load(out / "a.mp4.npz")["features"], expected.values.numpy())
    assert read_record(out / "a.mp4.npz")["recipe"] == expected.recipe


def test_what_is_there_is_left_alone_and_a_torn_run_goes_on(videos, tmp_path, network):
    out = tmp_path / "out"
    assert run(videos / "a.mkv", "--out", out, "--model", network).exit_code == 0
    first = (out / "a.mkv.npz").stat()
    result = run(videos, "--out", out, "--model", network, "--json")
    assert [(row["state"], Path(row["output"]).name) for row in json.loads(result.stdout)] == [
        *(("there", "a.mkv.npz"), ("written", "a.mp4.npz"), ("written", "b.MKV.npz"))
    ]
    assert (out / "a.mkv.npz").stat().st_mtime_ns == first.st_mtime_ns
    whole = {name: (out / name).read_bytes() for name in files_under(out)}
    sidecar(out / "a.mp4.npz").unlink()  # killed between the two files of a video
    result = run(videos, "--out", out, "--model", network)
    assert result.exit_code == 0
    assert "1 written, 2 there, 0 failed" in result.stderr
    assert {name: (out / name).read_bytes() for name in files_under(out)} == whole


def test_another_recipe_is_an_error_unless_it_may_replace(videos, tmp_path, network):
    out, arguments = tmp_path / "out", ("--model", network, "--stride", 8)
    run(videos / "a.mp4", "--out", out, "--model", network)
    before = (out / "a.mp4.npz").read_bytes()
    result = run(videos / "a.mp4", "--out", out, *arguments)
    assert result.exit_code == 1
    assert "is there already: it differs in stride; --overwrite replaces it, another --out keeps it" in result.stderr
    assert (out / "a.mp4.npz").read_bytes() == before
    assert run(videos / "a.mp4", "--out", out, *arguments, "--overwrite").exit_code == 0
    assert np.load(out / "a.mp4.npz")["features"].shape == (3, 320)
    again = run(videos / "a.mp4", "--out", out, *arguments, "--overwrite")
    assert "0 written, 1 there" in again.stderr  # so a run that replaces can be stopped, too


def test_another_video_of_the_same_name_is_noticed(videos, tmp_path, network):
    out = tmp_path / "out"
    run(videos / "a.mp4", "--out", out, "--model", network)
    write_counting(tmp_path / "longer.mkv", 80, fps=30).replace(videos / "a.mp4")
    result = run(videos / "a.mp4", "--out", out, "--model", network)
    assert result.exit_code == 1
    assert "differs in the size of the video" in result.stderr
    assert run(videos / "a.mp4", "--out", out, "--model", network, "--overwrite").exit_code == 0
    assert np.load(out / "a.mp4.npz")["features"].shape == (4, 320)


def test_a_file_of_someone_else_is_not_replaced(videos, tmp_path, network):
    out = tmp_path / "out"
    out.mkdir()
    np.savez(out / "a.mp4.npz", features=np.zeros(3))
    result = run(videos / "a.mp4", "--out", out, "--model", network)
    assert result.exit_code == 1
    assert "not written by slowfast_hub" in result.stderr
    assert np.load(out / "a.mp4.npz")["features"].shape == (3,)


def test_parts_are_disjoint_and_whole_whatever_the_order_and_while_files_are_added(tmp_path):
    for number in range(200):
        path = tmp_path / "videos" / f"{number % 7}" / f"{number}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    def names(inputs: list[Path], shard: str) -> set[str]:
        return {job.name for job in part_of(find_jobs(inputs, tmp_path / "out", "npz"), shard)}

    folder = [tmp_path / "videos"]
    parts = [names(folder, f"{part}/5") for part in range(1, 6)]
    assert sum(len(part) for part in parts) == 200
    assert set.union(*parts) == names(folder, "1/1")
    assert all(25 <= len(part) <= 55 for part in parts)  # 40 each on average
    jobs = find_jobs(folder, tmp_path / "out", "npz")
    assert {job.name for job in part_of(jobs[::-1], "2/5")} == parts[1]
    (tmp_path / "videos" / "0" / "new.mp4").touch()
    assert [names(folder, f"{part}/5") - {"0/new.mp4"} for part in range(1, 6)] == parts


def test_a_name_goes_to_the_same_part_on_every_machine(tmp_path):
    jobs = find_jobs([tmp_path / "a.mp4", tmp_path / "b.mp4", tmp_path / "c.mp4"], tmp_path, "npz")
    # The first 8 bytes of SHA-256 of the names, modulo 3.
    parts = [[job.name for job in part_of(jobs, f"{part}/3")] for part in (1, 2, 3)]
    assert parts == [["b.mp4", "c.mp4"], ["a.mp4"], []]


def test_two_parts_fill_one_folder(videos, tmp_path, network):
    for part in ("1/2", "2/2"):
        assert run(videos, "--out", tmp_path / "two", "--model", network, "--shard", part).exit_code == 0
    run(videos, "--out", tmp_path / "one", "--model", network)
    assert files_under(tmp_path / "two") == files_under(tmp_path / "one")
    for name in OUTPUTS:
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()


@pytest.mark.parametrize(
    ("on_error", "states"),
    [("report", ["failed", "written", "failed"]), ("skip", ["written"]), ("raise", ["failed"])],
)
def test_failures_are_said_counted_and_exit_with_1(videos, tmp_path, network, on_error, states):
    bad = tmp_path / "a.avi"
    bad.write_text("not a video")
    arguments = ("--out", tmp_path / "out", "--model", network, "--on-error", on_error, "--json")
    result = run(bad, videos / "a.mkv", tmp_path / "missing.mp4", *arguments)
    assert result.exit_code == 1
    rows = json.loads(result.stdout)
    assert [row["state"] for row in rows] == states
    assert all(("error" in row) == (row["state"] == "failed") for row in rows)
    assert [line for line in result.stderr.splitlines() if line.startswith("error: ") and "a.avi" in line]
    assert not (tmp_path / "out" / "a.avi.npz").exists()


def test_outputs_never_leave_their_folder(videos, tmp_path, network):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    (out / "deep").symlink_to(elsewhere)
    (out / "a.mkv.npz").symlink_to(elsewhere / "a.mkv.npz")
    result = run(videos, "--out", out, "--model", network)
    assert result.exit_code == 1
    assert "outside of" in result.stderr
    assert files_under(elsewhere) == []
    assert not (out / "a.mkv.npz").is_symlink()
    assert "2 written, 0 there, 1 failed" in result.stderr
    result = run(videos / "deep" / "..", "--out", tmp_path / "other", "--model", network)
    assert result.exit_code == 0
    assert [name for name in files_under(tmp_path / "other") if name.endswith(".npz")] == OUTPUTS


def test_the_choices_of_the_command_arrive_in_the_recipe(videos, tmp_path, network):
    out = tmp_path / "out"
    arguments = ("--window", 16, "--stride", 8, "--last", "drop", "--stage", "res3", "--pathway", "slow", "--no-pool")
    result = run(videos / "a.mkv", "--out", out, "--model", network, *arguments, "--format", "safetensors")
    assert result.exit_code == 0, result.output
    record = read_record(out / "a.mkv.safetensors")
    assert record["shape"] == [3, 64, 2, 4, 4]
    chosen = {"window": 16, "stride": 8, "last": "drop", "stage": "res3", "pathway": "slow", "pool": False}
    assert {name: record["recipe"][name] for name in chosen} == chosen
    result = run(videos / "a.mp4", "--out", out, "--model", network, "--preset", "ego4d", "--crop", "left")
    assert read_record(out / "a.mp4.npz")["recipe"]["last"] == "back"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--shard", "0/4"), "--shard is i/n with i from 1 to n, such as 1/4 .. 4/4; got '0/4'"),
        (("--shard", "5/4"), "got '5/4'"),
        (("--shard", "half"), "got 'half'"),
        (("--format", "csv"), "--format must be one of 'npz', 'safetensors'; got 'csv'"),
        (("--on-error", "ignore"), "--on-error must be one of"),
        (("--preset", "hero", "--window", "60"), "preset='hero' says itself what window is"),
        (("--last", "pad"), "last must be one of"),
        (("--model", "slowfast_r50_8x9"), "did you mean 'slowfast_r50_8x8'"),
        (("--model", "slow_det_r50_4x16.ptv_ava22"), "is a detector"),
        (("--device", "nonsense"), "nonsense"),
    ],
)
def test_usage_errors_exit_with_2_and_say_what_is_wrong(videos, tmp_path, arguments, said):
    result = run(videos, "--out", tmp_path / "out", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert not (tmp_path / "out").exists()


def test_an_empty_folder_and_two_videos_of_one_name_are_usage_errors(videos, tmp_path, network):
    (tmp_path / "empty").mkdir()
    result = run(tmp_path / "empty", "--out", tmp_path / "out", "--model", network)
    assert result.exit_code == 2
    assert "no videos; expected files that end in one of" in result.stderr
    (tmp_path / "a.mkv").write_bytes(b"")
    result = run(videos, tmp_path / "a.mkv", "--out", tmp_path / "out", "--model", network)
    assert result.exit_code == 2
    assert "would both be a.mkv: give the folder that holds both" in result.stderr


def test_a_video_that_is_given_twice_is_done_once(videos):
    inside = videos / "deep" / "er"
    jobs = find_jobs([videos, inside, inside / "b.MKV"], Path("out"), "npz")
    assert [job.name for job in jobs] == ["a.mkv", "a.mp4", "b.MKV", "deep/er/b.MKV"]
    assert jobs[2].target == Path("out/b.MKV.npz")


def test_two_processes_in_one_folder_do_no_harm(videos, tmp_path, network, monkeypatch):
    out, arguments = tmp_path / "out", (videos, "--out", tmp_path / "out", "--model", network)
    save = Features.save

    def interrupted(made: Features, path: Path) -> Path:
        """The second process does all of its work between the reading and the writing of the first."""
        monkeypatch.setattr(Features, "save", save)
        assert run(*arguments).exit_code == 0
        return save(made, path)

    monkeypatch.setattr(Features, "save", interrupted)
    assert run(*arguments).exit_code == 0
    assert files_under(out) == sorted([*OUTPUTS, *(f"{name}.json" for name in OUTPUTS)])
    assert "0 written, 3 there" in run(*arguments).stderr
    assert all(read_record(out / name) == json.loads(sidecar(out / name).read_text()) for name in OUTPUTS)


def test_files_that_two_recipes_mixed_are_made_again(videos, tmp_path, network):
    out, arguments = tmp_path / "out", (videos / "a.mp4", "--model", network)
    run(*arguments, "--out", out)
    run(*arguments, "--out", tmp_path / "other", "--stride", 8)
    whole = (out / "a.mp4.npz.json").read_bytes()
    (tmp_path / "other" / "a.mp4.npz.json").replace(out / "a.mp4.npz.json")
    assert run(*arguments, "--out", out, "--stride", 8).exit_code == 1  # the file of features decides
    assert "1 written" in run(*arguments, "--out", out).stderr
    assert (out / "a.mp4.npz.json").read_bytes() == whole


def test_boxes_give_features_of_people_and_another_table_is_another_recipe(videos, tmp_path):
    torch.manual_seed(0)
    arch = SlowFastArch(CLIP, depth=14, width=8, beta_inv=4, alpha=4, num_classes=5, roi=RoISpec())
    save_pretrained(build(arch).eval(), tmp_path / "network")
    table, out = tmp_path / "people.csv", tmp_path / "out"
    options = ("--out", out, "--model", f"local-dir:{tmp_path / 'network'}", "--boxes", table)
    table.write_text("video,time,x1,y1,x2,y2\na.mp4,0.5,0,0,0.5,1\na.mp4,0.5,0.5,0,1,1\na.mp4,1,0,0,0.5,1\n")
    result = run(videos / "a.mp4", *options)
    assert result.exit_code == 0, result.output
    made = np.load(out / "a.mp4.npz")
    assert made["features"].shape == (3, 320)
    assert made["boxes"].tolist() == [[0, 0, 32, 48], [32, 0, 64, 48], [0, 0, 32, 48]]  # px of 64 x 48
    assert made["person"].tolist() == [0, 1, 0]
    assert "0 written, 1 there" in run(videos / "a.mp4", *options).stderr
    table.write_text(table.read_text().replace("0,0,0.5,1", "0,0,0.4,1"))
    result = run(videos / "a.mp4", *options)
    assert result.exit_code == 1
    assert "it differs in people" in result.stderr
    result = run(videos / "deep", *options)
    assert result.exit_code == 1
    assert "b.MKV" in result.stderr
    result = run(videos / "a.mp4", *options, "--window", 16)
    assert result.exit_code == 2
    assert "--window: --boxes gives features at the moments of the table" in result.stderr
