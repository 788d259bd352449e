import io
import json
import os
import weakref
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from local_server import LocalServer, file
from made_networks import TINY, noise, tiny_network
from made_videos import MILLISECOND, grey, png_bytes, write_video

from slowfast_hub.models import VideoModel
from slowfast_hub.predict.predictor import Predictor
from slowfast_hub.predict.timeline import timeline
from slowfast_hub.spec import ClipSpec, Limits, VideoLimitError
from slowfast_hub.transforms.eval import EvalTransform, Fitter
from slowfast_hub.video.reader import ArrayReader, open_video, read_frames

CLIP = Path(__file__).parents[2] / "examples" / "clip.mp4"


@pytest.fixture(scope="module")
def tiny() -> VideoModel:
    return tiny_network()


class Stop(Exception):
    pass


def stop_after(batches: int):
    calls = []

    def progress(done_s: float, total_s: float) -> None:
        calls.append((done_s, total_s))
        if len(calls) == batches:
            raise Stop

    return progress


def test_windows_are_scored_as_clips_made_by_hand(tiny):
    """Clips of 32 ticks every 16: of 90 frames at 30 fps windows 0 16 32 48 are whole, 64 holds the last frame."""
    frames = noise(90)
    answer = timeline(frames, tiny, batch_size=2)
    assert answer.starts_s.tolist() == pytest.approx([0, 16 / 30, 32 / 30, 48 / 30, 64 / 30])
    assert answer.ends_s.tolist() == pytest.approx([32 / 30, 48 / 30, 64 / 30, 80 / 30, 3.0])
    transform = EvalTransform(TINY.clip)
    for start, probs in zip((0, 16, 32, 48, 64), answer.probs, strict=True):
        places = torch.linspace(start, start + 31, 8).clamp(max=89).long()
        with torch.inference_mode():
            logits = tiny(transform(torch.from_numpy(frames[places]))[None])
        assert torch.allclose(probs, logits.softmax(1)[0], atol=1e-5)
    assert (answer.window_s, answer.stride_s) == pytest.approx((32 / 30, 16 / 30))
    assert answer.labels == tuple(f"class {index}" for index in range(5))


def test_a_long_window_is_the_mean_of_the_clips_in_it(tiny):
    """Windows of 3 s every 1.5 s: two clips to a stride, 22.5 apart; three lie in 90 places, and 13 are left over."""
    frames = noise(180)
    answer = timeline(frames, tiny, window_s=3.0, stride_s=1.5)
    starts = [6.5 + 22.5 * k for k in range(7)]
    assert answer.starts_s.tolist() == [0, 1.5, 3.0]
    transform = EvalTransform(TINY.clip)
    places = [torch.linspace(start, start + 31, 8, dtype=torch.float64).long() for start in starts]
    with torch.inference_mode():
        scores = torch.cat([tiny(transform(torch.from_numpy(frames[row]))[None]).softmax(1) for row in places])
    expected = torch.stack([scores[0:3].mean(0), scores[2:5].mean(0), scores[4:7].mean(0)])
    assert torch.allclose(answer.probs, expected, atol=1e-5)


def test_many_labels_have_scores_of_their_own():
    model = tiny_network(activation="sigmoid")
    answer = timeline(noise(60), model)
    assert (answer.probs.sum(1) - 1).abs().min() > 0.01
    assert {segment.label for segment in answer.segments(enter=0.0, leave=0.0)} == set(answer.labels)


def test_a_clip_counted_in_frames_of_the_file_is_seen_in_steps():
    spec = ClipSpec(frames=8, stride=4, fps=None, short_side=16, crop=16)
    frames = noise(64)
    model = tiny_network(clip=spec)
    answer = timeline(frames, model, fps=12.5, window_s=32 / 12.5, stride_s=32 / 12.5)
    # Eight frames four apart are 29 long: centred in 32 they begin at 1.5.
    with torch.inference_mode():
        logits = model(EvalTransform(spec)(torch.from_numpy(frames[33:64:4]))[None])
    assert torch.allclose(answer.probs[1], logits.softmax(1)[0], atol=1e-5)


def test_times_are_seconds_of_the_file(tiny, tmp_path):
    late = write_video(
        tmp_path / "late.mkv", noise(75), fps=25, times=range(2000, 5000, 40), time_base=MILLISECOND, codec="ffv1"
    )
    answer = timeline(late, tiny, stride_s=1.0, window_s=1.0)
    assert answer.starts_s.tolist() == pytest.approx([2, 3, 4])
    assert answer.ends_s.tolist() == pytest.approx([3, 4, 5])
    assert answer.segments(enter=0.0, leave=0.0)[0].start == pytest.approx(2)


def test_frames_are_read_once_however_much_windows_overlap(tiny, monkeypatch):
    requests = []
    original = ArrayReader.stream
    monkeypatch.setattr(
        ArrayReader, "stream", lambda self, indices: requests.append(list(indices)) or original(self, indices)
    )
    timeline(noise(120), tiny, stride_s=0.1)
    assert len(requests) == 1
    assert all(before < after for before, after in pairwise(requests[0]))


@pytest.mark.parametrize("frames", [300, 900])
def test_memory_does_not_grow_with_the_video(tiny, monkeypatch, frames):
    """Windows of 32 frames every 4, two at a time: no more fitted pictures live than these show, 36 or so."""
    pictures: weakref.WeakSet[torch.Tensor] = weakref.WeakSet()
    most = []
    fit = Fitter.__call__

    def watched(self: Fitter, frame: torch.Tensor) -> torch.Tensor:
        picture = fit(self, frame)
        pictures.add(picture)
        most.append(len(pictures))
        return picture

    monkeypatch.setattr(Fitter, "__call__", watched)
    timeline(noise(frames), tiny, stride_s=4 / 30, batch_size=2)
    assert len(most) > frames / 2
    assert max(most) <= 40


def test_progress_tells_the_seconds_that_are_done(tiny):
    calls = []
    timeline(noise(90), tiny, batch_size=2, progress=lambda *times: calls.append(times))
    assert [done_s for done_s, _ in calls] == pytest.approx([48 / 30, 80 / 30, 3.0])
    assert {total_s for _, total_s in calls} == {3.0}


@pytest.mark.parametrize("batches", [1, 3, 5])
def test_a_run_that_was_stopped_ends_like_one_that_was_not(tiny, tmp_path, batches):
    """15 windows in batches of 3: stopped after some, then finished; not a bit differs."""
    video = write_video(tmp_path / "a.mkv", noise(250), fps=30)
    once = timeline(video, tiny, batch_size=3)
    assert len(once.probs) == 15
    with pytest.raises(Stop):
        timeline(video, tiny, batch_size=3, resume=tmp_path / "r", progress=stop_after(batches))
    calls = []
    again = timeline(video, tiny, batch_size=3, resume=tmp_path / "r", progress=lambda *times: calls.append(times))
    assert len(calls) == 5 - batches
    assert torch.equal(again.probs, once.probs)
    assert torch.equal(again.starts_s, once.starts_s)
    assert torch.equal(timeline(video, tiny, batch_size=3, resume=tmp_path / "r").probs, once.probs)


@pytest.mark.parametrize("left", [0, 1, 40, -1, -60])
def test_a_line_that_was_cut_off_does_not_count(tiny, tmp_path, left):
    """Whatever byte the process died at: in the first line, or in the last."""
    video = write_video(tmp_path / "a.mkv", noise(250), fps=30)
    once = timeline(video, tiny, batch_size=3, resume=tmp_path / "whole")
    lines = (tmp_path / "whole").read_bytes().splitlines(keepends=True)
    torn = lines[0][:left] if left >= 0 else b"".join(lines[:4])[:left]
    (tmp_path / "torn").write_bytes(torn)
    assert torch.equal(timeline(video, tiny, batch_size=3, resume=tmp_path / "torn").probs, once.probs)
    assert (tmp_path / "torn").read_bytes() == (tmp_path / "whole").read_bytes()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"stride_s": 0.4}, "windows"),
        ({"batch_size": 2}, "batch_size 3, not 2"),
        ({"crop": "left"}, "crop 'centre', not 'left'"),
        ({"name": tiny_network(num_classes=4)}, "weights"),
        ({"video": noise(251)}, "video"),
    ],
)
def test_a_record_of_other_work_is_refused_and_left_alone(tiny, tmp_path, change, says):
    asked = {"video": noise(250), "name": tiny, "batch_size": 3}
    timeline(**asked, resume=tmp_path / "r")
    before = (tmp_path / "r").read_bytes()
    with pytest.raises(ValueError, match=f"other work: .*{says}"):
        timeline(**{**asked, **change}, resume=tmp_path / "r")
    assert (tmp_path / "r").read_bytes() == before


@pytest.mark.parametrize("content", [b"a,b,c\n1,2,3\n", b"no line at all", b'{"timeline": 1}\n', b"[]\n", b"\xff\n"])
def test_a_file_that_is_no_record_is_refused_and_left_alone(tiny, tmp_path, content):
    (tmp_path / "mine.csv").write_bytes(content)
    with pytest.raises(ValueError, match=r"mine\.csv"):
        timeline(noise(40), tiny, resume=tmp_path / "mine.csv")
    assert (tmp_path / "mine.csv").read_bytes() == content


def test_a_damaged_record_is_refused(tiny, tmp_path):
    timeline(noise(250), tiny, resume=tmp_path / "r")
    lines = (tmp_path / "r").read_bytes().splitlines(keepends=True)
    (tmp_path / "r").write_bytes(lines[0] + json.dumps({"float32": "AAAA"}).encode() + b"\n" + b"".join(lines[2:]))
    with pytest.raises(ValueError, match="damaged"):
        timeline(noise(250), tiny, resume=tmp_path / "r")


def test_a_line_that_is_not_at_its_place_is_damage(tiny, tmp_path):
    """15 windows in batches of 3: a line twice, one missing, two runs at once."""
    timeline(noise(250), tiny, batch_size=3, resume=tmp_path / "r")
    head, *lines = (tmp_path / "r").read_bytes().splitlines(keepends=True)
    assert [json.loads(line)["at"] for line in lines] == [0, 3, 6, 9, 12]
    first, second, third = lines[:3]
    for found in ([first, second, second], [first, third], [first, first, second, second]):
        (tmp_path / "r").write_bytes(b"".join([head, *found]))
        with pytest.raises(ValueError, match=r"r is damaged: a line begins with row \d where \d is next .*delete it"):
            timeline(noise(250), tiny, batch_size=3, resume=tmp_path / "r")
        assert (tmp_path / "r").read_bytes() == b"".join([head, *found])


def test_a_network_of_the_same_weights_and_another_rule_is_other_work(tiny, tmp_path):
    timeline(noise(60), tiny, resume=tmp_path / "r")
    other = tiny_network(slow_rule="strided")
    other.load_state_dict(tiny.state_dict())
    with pytest.raises(ValueError, match=r"other work: arch .*'slow_rule': 'linspace'.*, not .*'slow_rule': 'strided'"):
        timeline(noise(60), other, resume=tmp_path / "r")


def test_file_objects_are_told_apart_by_what_is_in_them(tiny, tmp_path):
    one, other = (write_video(tmp_path / "a.mkv", noise(60)[::step], fps=30).read_bytes() for step in (1, -1))
    once = timeline(io.BytesIO(one), tiny, resume=tmp_path / "r")
    again = io.BytesIO(one)
    again.seek(100)
    assert torch.equal(timeline(again, tiny, resume=tmp_path / "r").probs, once.probs)
    with pytest.raises(ValueError, match=r"other work: video .*sha256"):
        timeline(io.BytesIO(other), tiny, resume=tmp_path / "r")


def test_folders_are_told_apart_by_the_images_in_them(tiny, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(png_bytes(grey(number)))
    once = timeline(folder, tiny, resume=tmp_path / "r")
    (folder / "notes.txt").write_text("no image")
    assert torch.equal(timeline(folder, tiny, resume=tmp_path / "r").probs, once.probs)
    os.utime(folder / "1.png", ns=(0, 0))
    with pytest.raises(ValueError, match=r"other work: video .*sha256"):
        timeline(folder, tiny, resume=tmp_path / "r")


def test_an_address_cannot_be_told_from_others(tiny, server: LocalServer, tmp_path):
    path = write_video(tmp_path / "a.mkv", noise(60), fps=30)
    address = server.serve("/a.mkv", file(path.read_bytes()))
    with pytest.raises(ValueError, match=r"a\.mkv: an address or a pipe cannot be told .* leave resume out"):
        timeline(address, tiny, resume=tmp_path / "r")
    assert not (tmp_path / "r").exists()
    once = timeline(f"file:{path}", tiny, resume=tmp_path / "r")  # no address
    assert torch.equal(timeline(path, tiny, resume=tmp_path / "r").probs, once.probs)


def test_a_video_that_changed_is_another_one(tiny, tmp_path):
    video = write_video(tmp_path / "a.mkv", noise(60), fps=30)
    timeline(video, tiny, resume=tmp_path / "r")
    write_video(video, noise(60)[::-1], fps=30)
    with pytest.raises(ValueError, match="other work: video"):
        timeline(video, tiny, resume=tmp_path / "r")


def test_a_predictor_brings_its_options_with_it(tiny):
    predictor = Predictor(tiny, batch_size=3, limits=Limits(duration_s=1.0))
    assert timeline(noise(60), predictor).model == "SlowFast"
    with pytest.raises(ValueError, match="batch_size belongs to the Predictor"):
        timeline(noise(60), predictor, batch_size=2)
    with pytest.raises(VideoLimitError, match="duration_s"):
        timeline(CLIP, predictor)
    with pytest.raises(VideoLimitError, match="duration_s"):
        timeline(CLIP, tiny, limits=Limits(duration_s=1.0))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [({"window_s": 0}, "window_s"), ({"stride_s": -1.0}, "stride_s"), ({"crop": "top"}, "'left', 'centre', 'right'")],
)
def test_wrong_wishes_are_refused(tiny, wrong, says):
    with pytest.raises(ValueError, match=says):
        timeline(noise(60), tiny, **wrong)


def test_the_embedded_network_finds_what_happens_in_the_example():
    """Four seconds of one action: a single segment from end to end."""
    answer = timeline(CLIP, stride_s=0.5)
    frames = open_video(CLIP)
    (segment,) = answer.segments()
    assert (segment.start, segment.end) == (0.0, pytest.approx(frames.info.duration_s))
    assert segment.label == "jack"
    assert "the embedded network" in repr(answer)
    by_frames = timeline(read_frames(frames, torch.arange(frames.info.frames)), stride_s=0.5, fps=frames.info.fps)
    assert torch.equal(by_frames.probs, answer.probs)
