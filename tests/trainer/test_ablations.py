"""The tables in miniature, in a still smaller one: every network is built and trained for some steps."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from slowfast_hub.trainer import ablations
from slowfast_hub.trainer.ablations import MOTION_CLIP, RECIPE, SLOW_ONLY, TABLES, Benchmark, Network, distinct
from slowfast_hub.trainer.motion import motion_videos
from slowfast_hub.trainer.samples import Sample
from slowfast_hub.zoo.create import create_model


@pytest.fixture(autouse=True)
def one_thread_stays():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Benchmark:
    """24 clips to train on and 24 to test on, in the place of the set."""
    recipe = replace(RECIPE, epochs=1, warmup_epochs=0, flip=0.0, jitter=(32, 32), batch_size=8)
    made = Benchmark("motion", motion_videos(train=24, test=24), MOTION_CLIP, recipe, "centre")
    monkeypatch.setattr(ablations, "motion", lambda: made)
    return made


def line(network: Network, seed: int, right: int, *, cost: float = 50e6, name: str = "motion") -> dict:
    return {
        "set": name,
        "network": network.key,
        "seed": seed,
        "multiply_adds": cost,
        "right": {"left": right, "right": 0},
        "of": {"left": 50, "right": 50},
    }


def write(path: Path, lines: list[dict]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in lines), encoding="utf-8")
    return path


def test_tables_have_fifteen_networks_of_which_three_tables_share_two():
    assert len(distinct(TABLES)) == 15
    assert sum(map(len, TABLES.values())) == 19
    keys = [network.key for network in distinct(["5a"])]
    assert keys[:3] == ["slow", "fast", "slowfast lateral=none"]
    assert {TABLES["5a"][-1].key, TABLES["5b"][3].key, TABLES["5c"][1].key} == {"slowfast"}


@pytest.mark.parametrize("network", distinct(TABLES), ids=lambda network: network.key)
def test_every_network_answers_for_a_clip_of_32_frames(network: Network):
    model = create_model(network.row, num_classes=12, **network.fields(MOTION_CLIP))
    clip = model.arch.clip
    assert clip.frames * clip.stride == 32
    with torch.no_grad():
        assert model(torch.zeros(1, 3, clip.frames, 32, 32)).shape == (1, 12)


def test_a_run_is_one_line_and_is_not_repeated(small: Benchmark, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    results = tmp_path / "results.jsonl"
    only = ["run", "--table", "5a", "--results", str(results), "--threads", "1"]
    ablations.main([*only, "--seeds", "0", "--share", "0/7"])  # the first of seven
    (first,) = map(json.loads, results.read_text(encoding="utf-8").splitlines())
    assert (first["set"], first["network"], first["seed"]) == ("motion", "slow", 0)
    assert sum(first["of"].values()) == 24
    assert all(0 <= first["right"][name] <= 2 for name in small.videos.classes)
    ablations.main([*only, "--seeds", "0,1", "--share", "0/7"])
    lines = [json.loads(text) for text in results.read_text(encoding="utf-8").splitlines()]
    assert lines[0] == first
    assert [(each["network"], each["seed"]) for each in lines] == [("slow", 0), ("slow", 1)]
    assert capsys.readouterr().out.count("slow, seed 0") == 1


def test_two_shares_are_all_runs_and_none_twice(monkeypatch: pytest.MonkeyPatch, small: Benchmark, tmp_path: Path):
    monkeypatch.setattr(ablations, "run", lambda benchmark, network, seed: {**line(network, seed, 1), "seconds": 0})
    results = tmp_path / "results.jsonl"
    for share in ("0/2", "1/2", "0/1"):
        ablations.main(["run", "--share", share, "--results", str(results)])
    runs = [
        (each["network"], each["seed"]) for each in map(json.loads, results.read_text(encoding="utf-8").splitlines())
    ]
    assert len(runs) == len(set(runs)) == 15 * 3


def test_report_has_mean_spread_cost_and_the_papers_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    t_conv = TABLES["5a"][-1]
    lines = [line(SLOW_ONLY, seed, right) for seed, right in enumerate([20, 30, 40])]
    lines += [line(t_conv, seed, right, cost=77.5e6) for seed, right in enumerate([45, 47])]
    lines += [line(network, 0, 50, cost=128e6) for network in (TABLES["5a"][2], TABLES["5b"][1])]
    results = write(tmp_path / "results.jsonl", lines)
    with results.open("a", encoding="utf-8") as file:
        file.write('{"set": "mot')  # a run that was killed as it wrote
    ablations.main(["report", "--results", str(results)])
    text = capsys.readouterr().out
    assert "| Slow-only | 30.0 | 20.0 to 40.0 | 3 | 50.0 | 72.6 |" in text
    assert "| T-conv | 46.0 | 45.0 to 47.0 | 2 | 77.5 | 75.6 |" in text
    assert "| beta 1/8 | 46.0 | 45.0 to 47.0 | 2 | 77.5 | 75.6 |" in text
    assert "Table 5c" not in text  # no network that it alone has was run
    assert "| classes, motion | Slow-only | no lateral | T-conv |" in text
    assert "| left | 60 | 100 | 92 |" in text
    assert "| right | 0 | 0 | 0 |" in text


def test_plot_has_a_panel_for_each_set_and_a_name_at_each_point(tmp_path: Path):
    lines = [line(network, 0, 40, name=name) for name in ("motion", "actions") for network in distinct(["5a"])]
    out = tmp_path / "plot.svg"
    ablations.main(["plot", "--results", str(write(tmp_path / "results.jsonl", lines)), "--out", str(out)])
    text = out.read_text(encoding="utf-8")
    assert [text.count(f"<!-- {label} -->") for label in ("motion", "actions", "TtoC, concat")] == [1, 1, 2]


def test_actions_are_split_by_people(shared: Path, tmp_path: Path):
    for name in ("bend", "jack"):
        (tmp_path / name).symlink_to(shared / "data" / "actions" / "weizmann" / name)
    videos = ablations.actions(tmp_path).videos
    assert (videos.classes, len(videos.train), len(videos.test)) == (("bend", "jack"), 12, 6)
    assert {sample.group for sample in videos.test} == {"ira", "lyova", "shahar"}
    assert all(sample.video.shape[1:] == (40, 40, 3) for sample in videos.samples())


def test_a_folder_without_the_people_is_refused(tmp_path: Path):
    (tmp_path / "bend").mkdir()
    with pytest.raises(ValueError, match=r"expected <class>/<person>_<class>.avi"):
        ablations.actions(tmp_path)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--set", "actions"], "belong together"),
        (["--data", "folder"], "belong together"),
        (["--share", "2/2"], "a share is i/n with i from 0 to n - 1; got '2/2'"),
        (["--share", "1"], "got '1'"),
        (["--seeds", "0,one"], "invalid seeds value: '0,one'"),
    ],
)
def test_wrong_options_are_refused(wrong: list[str], said: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        ablations.main(["run", *wrong])
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("command", ["report", "plot"])
def test_without_runs_there_is_nothing_to_show(command: str, tmp_path: Path):
    with pytest.raises(SystemExit, match="has no runs: begin with the command run"):
        ablations.main([command, "--results", str(tmp_path / "none.jsonl")])


def test_the_cut_follows_what_moves():
    """A bright figure of 10 x 60 px walks 2 px a frame over a dark picture of 180 x 144; the cut is 80 px, made 40."""
    frames = torch.full((45, 144, 180, 3), 40, dtype=torch.uint8)
    for time in range(45):
        frames[time, 50:110, 40 + 2 * time : 50 + 2 * time] = 200
    video = ablations.followed(Sample(frames, (0,), fps=25.0)).video
    assert video.shape == (45, 40, 40, 3)
    rows, columns = (video[10:35, ..., 0] > 120).nonzero(as_tuple=True)[1:]
    assert (rows.min(), rows.max()) == (5, 34)  # 60 px of 80 in the middle are 30 of 40
    assert (columns.min(), columns.max()) == (18, 22)  # 10 px are 5


def test_pictures_too_small_to_be_cut_are_refused():
    with pytest.raises(ValueError, match="pictures of the Weizmann set are 180 x 144 px"):
        ablations.followed(Sample(torch.zeros(3, 60, 60, 3, dtype=torch.uint8), (0,), fps=25.0))
