import re
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from local_server import LocalServer, file
from made_networks import TINY, noise, tiny_network
from made_videos import MILLISECOND, write_video

from slowfast_hub.predict.predictor import Predictor
from slowfast_hub.predict.stream import StreamClassifier, WindowScore
from slowfast_hub.predict.timeline import Timeline, timeline
from slowfast_hub.spec import Limits, VideoError, VideoLimitError
from slowfast_hub.transforms.eval import Fitter

COPY = "import shutil, sys; shutil.copyfileobj(open(sys.argv[1], 'rb'), sys.stdout.buffer)"


@pytest.fixture(scope="module")
def one_by_one() -> Predictor:
    return Predictor(tiny_network(), batch_size=1)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("frames of")] == []


def same(windows: Sequence[WindowScore], answer: Timeline) -> bool:
    """Whether the windows of a stream are those of a timeline, to the last bit."""
    return (
        [window.start_s for window in windows] == answer.starts_s.tolist()
        and [window.end_s for window in windows] == answer.ends_s.tolist()
        and torch.equal(torch.stack([window.probs for window in windows]), answer.probs)
    )


@settings(deadline=None, max_examples=40)
@given(
    frames=st.integers(1, 150),
    fps=st.sampled_from([10.0, 23.976, 25.0, 30.0, 60.0]),
    window_s=st.one_of(st.none(), st.floats(0.1, 5)),
    stride_s=st.one_of(st.none(), st.floats(0.3, 3)),
)
def test_a_stream_of_frames_scores_as_the_same_frames_do(one_by_one, frames, fps, window_s, stride_s):
    how = {"window_s": window_s, "stride_s": stride_s}
    windows = list(StreamClassifier(one_by_one, **how)(iter(noise(frames)), fps=fps))
    assert same(windows, timeline(noise(frames), one_by_one, fps=fps, **how))


def test_a_file_scores_as_a_stream_as_it_does_whole(one_by_one, tmp_path):
    late = range(1400, 1400 + 40 * 130, 40)
    path = write_video(tmp_path / "a.mkv", noise(130), fps=25, times=late, time_base=MILLISECOND)
    answer = timeline(path, one_by_one)
    assert answer.starts_s[0] == pytest.approx(1.4)
    assert len(answer.probs) == 9
    classify = StreamClassifier(one_by_one)
    for source in (path, path.read_bytes(), path.open("rb")):
        assert same(list(classify(source)), answer)


@pytest.mark.parametrize("seed", range(3))
def test_frames_with_times_score_as_a_file_of_these_times(one_by_one, tmp_path, seed):
    times = np.random.default_rng(seed).integers(1, 90, 120).cumsum() + 2000  # ms
    path = write_video(tmp_path / "a.mkv", noise(120), times=times.tolist(), time_base=MILLISECOND, fps=25)
    answer = timeline(path, one_by_one, stride_s=0.25)
    assert answer.video.times_s is not None
    classify = StreamClassifier(one_by_one, stride_s=0.25)
    seconds = answer.video.times_s.tolist()
    assert seconds == pytest.approx((times / 1000).tolist())
    assert same(list(classify(zip(seconds, noise(120)))), answer)
    assert same(list(classify(path)), answer)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("a.mkv", {}),
        ("a.ts", {"codec": "mpeg2video", "pixels": "yuv420p", "b_frames": 2}),
    ],
)
def test_a_pipe_scores_as_the_file_does(one_by_one, tmp_path, name, how):
    path = write_video(tmp_path / name, noise(110, 32, 48), fps=25, **how)
    with subprocess.Popen([sys.executable, "-c", COPY, str(path)], stdout=subprocess.PIPE) as process:
        windows = list(StreamClassifier(one_by_one)(process.stdout))
    assert same(windows, timeline(path, one_by_one))


def test_a_pipe_is_left_at_its_limit_with_the_windows_before(tmp_path):
    """Windows of 32 frames every 16: of the 60 frames in 2 s the third, which ends with frame 63, is not whole."""
    path = write_video(tmp_path / "a.mkv", noise(120), fps=30)
    limited = Predictor(tiny_network(), batch_size=1, limits=Limits(duration_s=2.0))
    windows = []
    process = subprocess.Popen([sys.executable, "-c", COPY, str(path)], stdout=subprocess.PIPE)
    with process, pytest.raises(VideoLimitError, match="duration_s"):
        windows.extend(StreamClassifier(limited)(process.stdout))
    assert [window.end_s for window in windows] == pytest.approx([32 / 30, 48 / 30])


def test_an_address_scores_as_the_file_does(one_by_one, server: LocalServer, tmp_path):
    path = write_video(tmp_path / "a.mkv", noise(110), fps=25)
    address = server.serve("/a.mkv", file(path.read_bytes()))
    assert same(list(StreamClassifier(one_by_one)(address)), timeline(path, one_by_one))


def test_bigger_batches_change_the_last_bits_only(one_by_one):
    windows = list(StreamClassifier(one_by_one)(noise(150)))
    answer = timeline(noise(150), Predictor(tiny_network(), batch_size=4))
    assert torch.allclose(torch.stack([window.probs for window in windows]), answer.probs, atol=1e-6)


def test_a_window_is_scored_as_soon_as_its_last_frame_is_there(one_by_one):
    """Windows of 32 frames every 16: after frames 32, 48, 64, and the rest at the end."""
    taken = []

    def camera() -> Iterator[np.ndarray]:
        for number, frame in enumerate(noise(70)):
            taken.append(number)
            wait.acquire(timeout=10)
            yield frame

    wait = threading.Semaphore(33)
    windows = StreamClassifier(one_by_one)(camera(), fps=30)
    first = next(windows)
    assert (first.start_s, first.end_s) == pytest.approx((0, 32 / 30))
    assert max(taken) <= 33
    wait.release(70)
    assert [window.end_s for window in windows] == pytest.approx([48 / 30, 64 / 30, 70 / 30])
    assert first.latency_s >= 0
    assert {row["label"] for row in first.top(5)} == set(first.labels)
    with pytest.raises(ValueError, match="k must be at least 1; got 0"):
        first.top(0)
    assert repr(first).startswith("WindowScore(0.00-1.07 s: class ")


def test_what_does_not_wait_loses_the_oldest_frames_while_the_network_works():
    """The first window is 32 frames; its scoring takes until all 400 have come, and only the last four are left."""
    model = tiny_network()
    come = threading.Event()
    model.register_forward_pre_hook(lambda *_: come.wait(10) and None)
    classify = StreamClassifier(model, queue_frames=4, drop="oldest")

    def camera() -> Iterator[np.ndarray]:
        for number, frame in enumerate(noise(400)):
            while number < 33 and classify._feed._waiting:
                time.sleep(0.001)
            yield frame
        come.set()

    windows = list(classify(camera(), fps=30))
    stats = classify.stats
    assert (stats.frames, stats.dropped, stats.windows) == (400, 400 - 32 - 4, 24)
    # They are missing in the pictures, not in the time.
    assert [window.start_s for window in windows] == pytest.approx([16 * k / 30 for k in range(24)])
    assert windows[-1].end_s == pytest.approx(400 / 30)


def test_frames_with_times_keep_their_times_when_some_are_lost(one_by_one):
    times = [number / 30 for number in range(120) if not 40 <= number < 60]
    frames = noise(120)[[*range(40), *range(60, 120)]]
    held = noise(120).copy()
    held[40:60] = held[39]
    answer = timeline(held, one_by_one, fps=30)
    for fps in (30, None):
        assert [w.start_s for w in StreamClassifier(one_by_one)(zip(times, frames), fps=fps)] == pytest.approx(
            answer.starts_s.tolist()
        )
    assert same(list(StreamClassifier(one_by_one)(zip(times, frames), fps=30)), answer)


def test_a_source_that_fails_gives_the_windows_before(one_by_one):
    def camera() -> Iterator[np.ndarray]:
        yield from noise(60)
        raise OSError("unplugged")

    windows = []
    with pytest.raises(VideoError, match="generator: reading failed: OSError: unplugged"):
        windows.extend(StreamClassifier(one_by_one)(camera(), fps=30))
    assert [window.end_s for window in windows] == pytest.approx([32 / 30, 48 / 30])


def test_a_pipe_that_fails_gives_the_windows_before(one_by_one, tmp_path):
    """No picture behind number 50 can be decoded."""
    whole = write_video(tmp_path / "a.nut", noise(100), fps=25, codec="png", pixels="rgb24").read_bytes()
    at = [found.start() for found in re.finditer(b"IHDR", whole)][51]
    (tmp_path / "broken.nut").write_bytes(whole[:at] + whole[at:].replace(b"IHDR", b"XXXX"))
    windows = []
    process = subprocess.Popen([sys.executable, "-c", COPY, str(tmp_path / "broken.nut")], stdout=subprocess.PIPE)
    with process, pytest.raises(VideoError, match="failed after 51 frames"):
        windows.extend(StreamClassifier(one_by_one)(process.stdout))
    # Windows of 26.7 frames every 13.3: the first two end before frame 51, at 26.7 and 40, the third at 53.3.
    assert [window.end_s for window in windows] == pytest.approx([32 / 30, 48 / 30])


def test_a_source_without_frames_is_a_video_error(one_by_one):
    with pytest.raises(VideoError, match="ended before its first frame"):
        list(StreamClassifier(one_by_one)(iter([]), fps=30))


def test_leaving_the_loop_ends_the_thread(one_by_one):
    endless = (noise(1)[0] for _ in count())
    for _ in StreamClassifier(one_by_one)(endless, fps=30):
        break


@pytest.mark.parametrize("way", ["close", "with", "next source"])
def test_there_are_other_ways_to_end_it(one_by_one, way):
    endless = (noise(1)[0] for _ in count())
    classify = StreamClassifier(one_by_one)
    windows = classify(endless, fps=30)
    next(windows)
    if way == "close":
        threading.Timer(0.05, classify.close).start()
        list(windows)  # ends
    elif way == "with":
        with classify:
            pass
        assert list(windows) == []
    else:
        assert len(list(classify(noise(32), fps=30))) == 1
        assert list(windows) == []


def test_memory_stays_as_it_is_for_days(one_by_one, monkeypatch):
    """Of 3000 frames no more than the 4 in the queue and a few in hand are alive, and of fitted ones two clips'."""
    frames: weakref.WeakSet[torch.Tensor] = weakref.WeakSet()
    pictures: weakref.WeakSet[torch.Tensor] = weakref.WeakSet()
    most = [0, 0]
    fit = Fitter.__call__

    def watched(self: Fitter, frame: torch.Tensor) -> torch.Tensor:
        picture = fit(self, frame)
        frames.add(frame)
        pictures.add(picture)
        most[:] = max(most[0], len(frames)), max(most[1], len(pictures))
        return picture

    monkeypatch.setattr(Fitter, "__call__", watched)
    classify = StreamClassifier(one_by_one, queue_frames=4)
    source = (torch.from_numpy(noise(1)[0]) for _ in count())
    assert len(list(islice(classify(source, fps=30), 180))) == 180
    assert most[0] <= 4
    assert most[1] <= 17
    assert len(classify._feed._waiting) <= 4


def test_stats_count_frames_windows_and_time(one_by_one):
    classify = StreamClassifier(one_by_one)
    assert classify.stats.frames == classify.stats.windows == 0

    def camera() -> Iterator[np.ndarray]:
        for frame in noise(64):
            time.sleep(0.001)
            yield frame

    windows = list(classify(camera(), fps=30))
    stats = classify.stats
    assert (stats.frames, stats.dropped, stats.windows) == (64, 0, 3)
    assert 10 < stats.fps < 1000
    assert stats.latency_max_s == max(window.latency_s for window in windows)
    assert stats.latency_mean_s == pytest.approx(sum(window.latency_s for window in windows) / 3)


def test_a_network_that_counts_frames_needs_a_rate():
    model = tiny_network(clip=replace(TINY.clip, fps=None))
    classify = StreamClassifier(Predictor(model, batch_size=1))
    with pytest.raises(ValueError, match="give the rate of the frames too"):
        list(classify([(0.0, noise(1)[0])]))
    times = [number / 25 for number in range(80)]
    assert same(
        list(classify(zip(times, noise(80)), fps=25)), timeline(noise(80), Predictor(model, batch_size=1), fps=25)
    )


def test_limits_of_a_predictor_hold_and_those_of_addresses_are_wider(one_by_one):
    with pytest.raises(VideoLimitError, match="'rtsp'"):
        StreamClassifier(one_by_one)("rtsp://127.0.0.1:1/a")
    with pytest.raises(VideoError, match=r"cannot be read|refused"):
        StreamClassifier(tiny_network())("rtsp://127.0.0.1:1/a")
    with pytest.raises(VideoLimitError, match="'rtsp'"):
        StreamClassifier(tiny_network(), limits=Limits())("rtsp://127.0.0.1:1/a")


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"window_s": 0}, "window_s"),
        ({"stride_s": float("nan")}, "stride_s"),
        ({"drop": "all"}, "drop"),
        ({"queue_frames": 0}, "queue_frames"),
        ({"crop": "top"}, "crop"),
        ({"device": "cpu"}, "device belongs to the Predictor"),
    ],
)
def test_wrong_wishes_are_refused_at_once(one_by_one, wrong, says):
    with pytest.raises(ValueError, match=says):
        StreamClassifier(one_by_one, **wrong)


def test_wrong_rates_and_sources_are_refused_at_the_call(one_by_one):
    classify = StreamClassifier(one_by_one)
    with pytest.raises(ValueError, match="positive rate"):
        classify(noise(2), fps=0)
    with pytest.raises(TypeError, match="a stream is"):
        classify(object())
    with pytest.raises(ValueError, match="exactly"):
        StreamClassifier(Predictor(tiny_network(), scaler="swscale"))


def test_examples_of_the_embedded_network(one_by_one):
    clip = Path(__file__).parents[2] / "examples" / "clip.mp4"
    labels = [window.top(1)[0]["label"] for window in StreamClassifier(stride_s=1.0)(clip)]
    assert labels == ["jack"] * 3
