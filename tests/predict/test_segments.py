import csv
import json
import re
from html import unescape
from pathlib import Path

import pytest
import torch

from slowfast_hub.predict.segments import Segment, Thresholds, write_csv, write_srt, write_vtt
from slowfast_hub.predict.timeline import Timeline
from slowfast_hub.spec import VideoInfo

# Windows of 2 s every second in a video of 9 s: window i is centred at i + 1, and stands for i + 0.5 to i + 1.5.
WAVERING = [0.1, 0.6, 0.4, 0.35, 0.2, 0.7, 0.1, 0.1]


def made(*scores: list[float], labels: tuple[str, ...] = ("walk", "run"), start_s: float = 0.0) -> Timeline:
    starts_s = torch.arange(len(scores[0]), dtype=torch.float64) + start_s
    video = VideoInfo("made.mp4", 10 * (len(scores[0]) + 1), 10.0, 64, 48, start_s=start_s)
    probs = torch.tensor(scores).T
    return Timeline(starts_s, starts_s + 2, probs, labels[: len(scores)], video, "net", window_s=2.0, stride_s=1.0)


def spans(segments: list[Segment]) -> list[tuple[str, float, float]]:
    return [(each.label, each.start, each.end) for each in segments]


def test_a_segment_begins_at_one_threshold_and_goes_on_at_another():
    found = made(WAVERING).segments(enter=0.5, leave=0.3)
    assert spans(found) == [("walk", 1.5, 4.5), ("walk", 5.5, 6.5)]
    assert [each.score for each in found] == pytest.approx([(0.6 + 0.4 + 0.35) / 3, 0.7])
    assert spans(made(WAVERING).segments(enter=0.5, leave=0.5)) == [("walk", 1.5, 2.5), ("walk", 5.5, 6.5)]


def test_segments_close_together_become_one_before_short_ones_are_left_out():
    (one,) = made(WAVERING).segments(gap_s=1.0, shortest_s=5.0)
    assert (one.start, one.end) == (1.5, 6.5)
    assert one.score == pytest.approx((0.6 + 0.4 + 0.35 + 0.2 + 0.7) / 5)
    assert spans(made(WAVERING).segments(shortest_s=2.0)) == [("walk", 1.5, 4.5)]
    assert len(made(WAVERING).segments(gap_s=0.9)) == 2


def test_smoothing_is_a_centred_mean_of_the_windows_there_are():
    # Over 3 windows, 2 at the ends: 0.35 0.37 0.45 0.32 0.42 0.33 0.3 0.1.
    assert made(WAVERING).segments(smooth_s=2.0) == []
    (found,) = made(WAVERING).segments(smooth_s=2.0, enter=0.44, leave=0.31)
    assert (found.start, found.end) == (2.5, 6.5)
    assert found.score == pytest.approx((0.4 + 0.35 + 0.2 + 0.7) / 4)  # of the scores as they were
    assert spans(made(WAVERING).segments(smooth_s=1.9)) == spans(made(WAVERING).segments())


def test_first_and_last_segment_reach_the_ends_of_the_video():
    (found,) = made([0.9] * 8, start_s=1.4).segments()
    assert (found.start, found.end) == pytest.approx((1.4, 10.4))
    assert made([0.9] * 8).edges_s() == [0.0, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 9.0]


def test_the_last_window_stands_for_what_is_left_even_if_most_of_it_is_held():
    # 62 s in windows of 10 every 5: the twelfth begins at 55 and takes over where its centre is next, at 57.5.
    starts_s = torch.arange(12, dtype=torch.float64) * 5
    video = VideoInfo("made.mp4", 620, 10.0, 64, 48)
    answer = Timeline(starts_s, (starts_s + 10).clamp(max=62), torch.ones(12, 1), ("walk",), video, "net", 10.0, 5.0)
    assert answer.edges_s()[-3:] == [52.5, 57.5, 62.0]


def test_labels_may_hold_at_the_same_time_and_are_sorted_by_start():
    answer = made([0, 0.8, 0.8, 0], [0.9, 0.9, 0, 0])
    assert spans(answer.segments()) == [("run", 0.0, 2.5), ("walk", 1.5, 3.5)]
    assert spans(answer.segments(labels=["walk"])) == [("walk", 1.5, 3.5)]


def test_wrong_wishes_say_what_is_wrong():
    answer = made(WAVERING, WAVERING)
    with pytest.raises(ValueError, match="leave <= enter"):
        answer.segments(enter=0.3, leave=0.5)
    with pytest.raises(ValueError, match="did you mean 'walk'"):
        answer.segments(labels=["walks"])
    with pytest.raises(TypeError, match="list of names"):
        answer.segments(labels="walk")


@pytest.mark.parametrize("name", ["shortest_s", "gap_s", "smooth_s"])
@pytest.mark.parametrize("seconds", [-1.0, float("inf"), float("nan")])
def test_lengths_are_finite(name, seconds):
    with pytest.raises(ValueError, match=f"{name} must be a number of seconds, 0 or more"):
        Thresholds(**{name: seconds})
    with pytest.raises(ValueError, match=f"{name} must be a number of seconds, 0 or more"):
        made(WAVERING).segments(**{name: seconds})


@pytest.mark.parametrize("smooth_s", [100.0, 1e300])
def test_smoothing_over_more_than_the_video_is_the_mean_of_all(smooth_s):
    mean = sum(WAVERING) / 8  # 0.31875
    assert made(WAVERING).segments(smooth_s=smooth_s, enter=0.3188, leave=0.3) == []
    (found,) = made(WAVERING).segments(smooth_s=smooth_s, enter=0.3187, leave=0.3)
    assert (found.start, found.end, found.score) == (0.0, 9.0, pytest.approx(mean))


# What a file of weights may call its classes.
LABELS = [
    "=cmd|' /C calc'!A0",
    'a "b", c',
    "a --> b",
    "<b>x</b> & {\\an8}y",
    "two\n\nlines",
    "-",
    "naïve 走る",
    "\x00\x1b",
]
SEGMENTS = [Segment(label, 3600.0 * at, 3600.0 * at + 1.25, 0.5) for at, label in enumerate(LABELS)]


def test_csv_gives_labels_back_and_no_formula(tmp_path: Path):
    write_csv(SEGMENTS, tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    assert head == ["start", "end", "label", "score"]
    assert rows[1] == ["3600.000", "3601.250", 'a "b", c', "0.5000"]
    assert [row[2].removeprefix("'") for row in rows] == LABELS
    assert not any(row[2].startswith(("=", "+", "-", "@", "\t", "\r")) for row in rows)


def vtt_cues(text: str) -> list[tuple[str, str, str]]:
    """Cues as the W3C's parser finds them: blocks apart by empty lines, a line of times, then text."""
    head, *blocks = re.split(r"\n\n+", text.rstrip("\n"))
    assert head == "WEBVTT"
    return [cue(block, r"(\d{2,}:[0-5]\d:[0-5]\d\.\d{3})") for block in blocks]


def srt_cues(text: str) -> list[tuple[str, str, str]]:
    blocks = re.split(r"\n\n+", text.rstrip("\n"))
    assert [block.split("\n")[0] for block in blocks] == [str(at) for at in range(1, len(blocks) + 1)]
    return [cue(block.partition("\n")[2], r"(\d{2,}:[0-5]\d:[0-5]\d,\d{3})") for block in blocks]


def cue(block: str, time: str) -> tuple[str, str, str]:
    times, text = block.split("\n")
    found = re.fullmatch(f"{time} --> {time}", times)
    assert found is not None
    assert found[1] < found[2]
    assert "-->" not in text
    return found[1], found[2], text


def test_webvtt_escapes_what_means_something(tmp_path: Path):
    write_vtt(SEGMENTS, tmp_path / "a.vtt")
    cues = vtt_cues((tmp_path / "a.vtt").read_text(encoding="utf-8"))
    assert cues[1][:2] == ("01:00:00.000", "01:00:01.250")
    assert not any(re.search("[<>]", text) for _, _, text in cues)
    assert [unescape(text) for _, _, text in cues] == [
        *(f"{label} 0.50" for label in LABELS[:4]),
        "two lines 0.50",
        "- 0.50",
        "naïve 走る 0.50",
        " 0.50",
    ]


def test_subrip_has_no_tags_and_no_empty_lines(tmp_path: Path):
    write_srt(SEGMENTS, tmp_path / "a.srt")
    cues = srt_cues((tmp_path / "a.srt").read_text(encoding="utf-8"))
    assert cues[1][:2] == ("01:00:00,000", "01:00:01,250")
    assert [text for _, _, text in cues][2:5] == [
        "a --\u203a b 0.50",
        "\u2039b\u203ax\u2039/b\u203a & (\\an8)y 0.50",
        "two lines 0.50",
    ]
    assert not any(re.search("[<>{}]", text) for _, _, text in cues)


@pytest.mark.parametrize(
    ("start", "end", "times"),
    [
        (360_000.0, 360_000.5, "100:00:00.000 --> 100:00:00.500"),
        (-0.04, 1.0, "00:00:00.000 --> 00:00:01.000"),
        (2.0, 2.0001, "00:00:02.000 --> 00:00:02.001"),
        (59.9996, 61.0, "00:01:00.000 --> 00:01:01.000"),
    ],
)
def test_times_of_cues_are_those_that_players_take(tmp_path: Path, start, end, times):
    write_vtt([Segment("x", start, end, 1.0)], tmp_path / "a.vtt")
    assert times in (tmp_path / "a.vtt").read_text(encoding="utf-8").split("\n")


def test_a_timeline_is_saved_by_the_suffix_whole_or_not_at_all(tmp_path: Path):
    answer = made(WAVERING, [0.0] * 8)
    for suffix in ("csv", "SRT", "vtt", "json"):
        assert answer.save(tmp_path / f"a.{suffix}").stat().st_size > 0
    with pytest.raises(ValueError, match=r"\.csv.*\.txt"):
        answer.save(tmp_path / "a.txt")
    assert {path.name for path in tmp_path.iterdir()} == {"a.csv", "a.SRT", "a.vtt", "a.json"}


def test_json_holds_the_video_the_windows_and_the_segments_that_were_asked_for(tmp_path: Path):
    answer = made(WAVERING, [0.05] * 8)
    found = json.loads(answer.save(tmp_path / "a.json", answer.segments(gap_s=1.0)).read_text(encoding="utf-8"))
    assert found["video"]["source"] == "made.mp4"
    assert found["video"]["duration_s"] == 9.0
    assert (found["model"], found["window_s"], found["stride_s"]) == ("net", 2.0, 1.0)
    assert [(each["start"], each["end"]) for each in found["windows"]] == [(at, at + 2) for at in range(8)]
    assert [row["label"] for row in found["windows"][1]["top"]] == ["walk", "run"]
    assert [(each["start"], each["end"]) for each in found["segments"]] == [(1.5, 6.5)]


def test_a_timeline_prints_itself_in_a_few_lines():
    lines = repr(made(WAVERING, [0.05] * 8)).splitlines()
    assert lines[0] == "Timeline(net: highest walk 0.70, run 0.05"
    assert lines[2].strip() == "8 windows of 2.00 s, every 1.00 s)"
