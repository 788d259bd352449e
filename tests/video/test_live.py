import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from local_server import file
from made_videos import MILLISECOND, grey, levels, write_counting
from rtsp_server import camera

from slowfast_hub.spec import LONG, Limits, VideoError, VideoLimitError
from slowfast_hub.video.feed import Arriving, Feed
from slowfast_hub.video.live import ENDLESS, LEAP_S, LIVE, Pipe, arrive, is_remote, usual_limits, without_breaks
from slowfast_hub.video.reader import open_video

FILES = Limits()
CLIP = Path(__file__).parents[2] / "examples" / "clip.mp4"  # its index is behind the pictures


def picture(number: int) -> torch.Tensor:
    return torch.full((2, 2, 3), number, dtype=torch.uint8)


def counting(count: int) -> Iterator[tuple[None, torch.Tensor]]:
    for number in range(count):
        yield None, picture(number)


def numbers(arriving: Arriving) -> list[int]:
    return [levels(frame)[0] for _, frame in arriving.frames]


def piped(path: Path) -> io.BufferedReader:
    """The file as the standard output of another process."""
    process = subprocess.Popen([sys.executable, "-c", COPY, str(path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    return process.stdout


COPY = "import shutil, sys; shutil.copyfileobj(open(sys.argv[1], 'rb'), sys.stdout.buffer)"


def threads_of_feeds() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("frames of")]


def wait_until(condition) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.mark.parametrize(
    ("drop", "kept", "dropped"), [("oldest", [6, 7, 8, 9], 6), ("newest", [0, 1, 2, 3], 6), ("never", [*range(10)], 0)]
)
def test_what_a_full_queue_does_is_a_policy(drop, kept, dropped):
    """Ten frames come while nobody takes any, and there is room for four."""
    with Feed(Arriving("made", counting(10)), room=4, drop=drop) as feed:
        wait_until(lambda: feed.received == (5 if drop == "never" else 10))
        arrived = list(feed)
        assert [each.number for each in arrived] == [int(each.frame[0, 0, 0]) for each in arrived] == kept
        assert (feed.received, feed.dropped) == (10, dropped)
    assert threads_of_feeds() == []


def test_frames_before_a_failure_come_first():
    def failing() -> Iterator[tuple[None, torch.Tensor]]:
        yield from counting(3)
        raise RuntimeError("the lens fell off")

    got = []
    says = "made: reading failed: RuntimeError: the lens fell off"
    with (
        pytest.raises(VideoError, match=says) as caught,
        Feed(Arriving("made", failing()), room=8, drop="never") as feed,
    ):
        got.extend(int(arrived.frame[0, 0, 0]) for arrived in feed)
    assert got == [0, 1, 2]
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_silence_for_too_long_is_a_failure():
    go = threading.Event()

    def silent() -> Iterator[tuple[None, torch.Tensor]]:
        yield from counting(1)
        go.wait(10)

    feed = Feed(Arriving("made", silent(), stalled_s=0.05, stop=go.set), room=4, drop="never")
    with pytest.raises(VideoError, match=r"made: nothing came for 0\.05 s"), feed:
        list(feed)
    assert threads_of_feeds() == []


def test_closing_lets_go_who_takes_and_who_gives():
    for room in (1, 100):  # the thread waits for room, or for the next frame
        with Feed(Arriving("made", counting(10)), room=room, drop="never") as feed:
            threading.Timer(0.05, feed.close).start()
            for _ in feed:
                wait_until(lambda: feed.closed)
        assert threads_of_feeds() == []


def test_a_frame_is_a_copy():
    """Drivers of cameras write the next frame into the memory of the last one."""
    memory = grey(0)

    def driver() -> Iterator[np.ndarray]:
        for level in range(5):
            memory[:] = level
            yield memory

    frames = [frame for _, frame in arrive(driver(), fps=None, limits=FILES).frames]
    assert [levels(frame)[0] for frame in frames] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("items", "says"),
    [
        ([np.zeros((4, 4, 3))], r"uint8 \(H, W, 3\) RGB .* got float64 \(4, 4, 3\)"),
        ([np.zeros((4, 4), np.uint8)], r"got uint8 \(4, 4\)"),
        (["frame"], "got str"),
        ([grey(0), grey(0, height=50)], r"one size; got \(50, 64, 3\) after \(48, 64, 3\)"),
        ([(0.0, grey(0)), (0.0, grey(1))], "must ascend; got 0.0 after 0.0"),
        ([(0.0, grey(0)), (float("nan"), grey(1))], "must ascend; got nan"),
    ],
)
def test_things_that_are_no_frames_are_refused(items, says):
    with pytest.raises((TypeError, ValueError), match=says):
        list(arrive(items, fps=25, limits=FILES).frames)


def test_a_file_gives_the_frames_and_times_of_its_reader(counting_video):
    path = counting_video(20, fps=25)
    for source in (path, str(path), path.read_bytes(), path.open("rb")):
        arriving = arrive(source, fps=None, limits=FILES)
        times, frames = zip(*arriving.frames)
        assert [levels(frame)[0] for frame in frames] == list(range(20))
        assert times == pytest.approx([number / 25 for number in range(20)])
        assert (arriving.fps, arriving.steady) == (25, True)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("a.mkv", {}),
        ("a.ts", {"codec": "mpeg2video", "pixels": "yuv420p", "b_frames": 2}),
        ("a.nut", {}),
        ("a.avi", {"codec": "mpeg4", "pixels": "yuv420p", "b_frames": 2, "options": {"qscale": "1"}}),
    ],
)
def test_a_pipe_gives_the_frames_and_times_of_the_file(tmp_path, name, how):
    path = write_counting(tmp_path / name, 60, fps=25, **how)
    info = open_video(path).info
    arriving = arrive(piped(path), fps=None, limits=FILES)
    times, frames = zip(*arriving.frames)
    assert len(frames) == info.frames == 60
    assert torch.equal(torch.stack(frames), torch.stack(list(open_video(path).stream(range(60)))))
    assert arriving.fps == info.fps
    if name != "a.avi":  # whose times are made up
        assert times[0] == info.start_s
        assert [time_s - times[0] for time_s in times] == pytest.approx([n / 25 for n in range(60)], abs=1e-3)


def test_a_pipe_that_breaks_gives_what_came_before(tmp_path):
    whole = write_counting(tmp_path / "a.mkv", 60, fps=25, height=96, width=96).read_bytes()
    (tmp_path / "broken.mkv").write_bytes(whole[: len(whole) // 2])
    got = numbers(arrive(piped(tmp_path / "broken.mkv"), fps=None, limits=FILES))
    assert 10 < len(got) < 50
    assert got == list(range(len(got)))


def test_a_file_that_needs_a_way_back_says_what_to_do():
    with pytest.raises(VideoError, match="index in front"):
        numbers(arrive(piped(CLIP), fps=None, limits=FILES))


def test_a_pipe_without_a_word_can_be_left(monkeypatch):
    read, write = os.pipe()
    with os.fdopen(read, "rb") as file, os.fdopen(write, "wb"):
        pipe = Pipe(file)
        threading.Timer(0.05, pipe.close).start()
        assert pipe.read(10) == b""
        monkeypatch.setattr("slowfast_hub.video.live.STALLED_S", 0.05)
        with pytest.raises(VideoError, match="nothing came"):
            Pipe(file).read(10)


def test_addresses_are_read_as_they_come(server, tmp_path):
    content = write_counting(tmp_path / "a.mkv", 40, fps=25).read_bytes()
    arriving = arrive(server.serve("/a.mkv", file(content)), fps=None, limits=LIVE)
    assert numbers(arriving) == list(range(40))
    assert (arriving.waits, arriving.stalled_s) == (True, 60)


def test_rtsp_is_read_as_it_comes(tmp_path):
    """The last frame of a transport stream that breaks off is not known to be whole."""
    path = write_counting(tmp_path / "a.ts", 60, fps=25, codec="mpeg2video", pixels="yuv420p")
    with camera(path.read_bytes()) as address:
        arriving = arrive(address, fps=None, limits=LIVE)
        times, frames = zip(*arriving.frames)
    assert torch.equal(torch.stack(frames), torch.stack(list(open_video(path).stream(range(59)))))
    assert np.diff(times) == pytest.approx([1 / 25] * 58)
    assert (arriving.fps, arriving.waits) == (25, False)


def test_hls_is_a_list_of_pieces_and_refused_where_lists_are(server, tmp_path):
    how = {"codec": "mpeg2video", "pixels": "yuv420p", "options": {"qscale": "1"}, "gop": 10}
    pieces = [write_counting(tmp_path / f"{at}.ts", 25, fps=25, **how) for at in range(2)]
    for piece in pieces:
        server.serve(f"/{piece.name}", file(piece.read_bytes()))
    entries = "".join(f"#EXT-X-DISCONTINUITY\n#EXTINF:1.0,\n{piece.name}\n" for piece in pieces)
    head = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:0\n"
    address = server.serve("/live.m3u8", file(f"{head}{entries}#EXT-X-ENDLIST\n".encode()))
    times, frames = zip(*arrive(address, fps=None, limits=LIVE).frames)
    known = [frame for piece in pieces for frame in open_video(piece).stream(range(25))]
    assert torch.equal(torch.stack(frames), torch.stack(known))
    assert np.diff(times) == pytest.approx([1 / 25] * 49, abs=0.05)
    with pytest.raises(VideoLimitError, match="playlist"):
        arrive(address, fps=None, limits=FILES)


def test_a_clock_that_is_set_anew_is_no_gap():
    frames = [(time_s, picture(0)) for time_s in (100.0, 100.1, 0.0, 0.1, 90_000.0, None, 90_000.2)]
    times = [time_s for time_s, _ in without_breaks(iter(frames), fps=10.0, longest_s=10.0)]
    assert times == pytest.approx([100.0, 100.1, 100.2, 100.3, 100.4, 100.5, 100.6])


def times_before(arriving: Arriving, limit: str) -> list[float]:
    """The times of the frames that come before the VideoLimitError."""
    times = []
    with pytest.raises(VideoLimitError, match=rf"Limits\({limit}=") as caught:
        times.extend(time_s for time_s, _ in arriving.frames)
    assert caught.value.limit == limit
    return times


@pytest.mark.parametrize("way", ["pipe", "address"])
def test_pipes_and_recorded_addresses_are_left_at_their_limits(server, tmp_path, way):
    """100 frames at 25 fps that begin at 1.4 s."""
    path = write_counting(tmp_path / "a.mkv", 100, fps=25, times=range(1400, 5400, 40), time_base=MILLISECOND)
    address = server.serve("/a.mkv", file(path.read_bytes()))

    def arriving(**limits) -> Arriving:
        return arrive(address if way == "address" else piped(path), fps=None, limits=Limits(**limits))

    every = [1.4 + number / 25 for number in range(100)]
    assert times_before(arriving(duration_s=1.99), "duration_s") == pytest.approx(every[:50])
    assert times_before(arriving(frames=30), "frames") == pytest.approx(every[:30])
    assert [time_s for time_s, _ in arriving(duration_s=4.01, frames=100).frames] == pytest.approx(every)


def test_a_pipe_is_left_at_its_limit_of_bytes(tmp_path):
    path = write_counting(tmp_path / "a.mkv", 100, fps=25)
    with av.open(str(path)) as container:
        ten = sum(packet.size for packet in list(container.demux())[:10])
    times = times_before(arrive(piped(path), fps=None, limits=Limits(bytes=ten)), "bytes")
    # What threads of the decoder still hold back is lost.
    assert len(times) <= 10
    assert len(list(arrive(piped(path), fps=None, limits=Limits(bytes=100 * ten)).frames)) == 100


def test_a_pipe_is_left_once_decoding_has_taken_its_time(tmp_path, monkeypatch):
    """By a clock that goes on by a second whenever it is asked: two seconds or so for each packet."""
    arriving = arrive(piped(write_counting(tmp_path / "a.mkv", 100)), fps=None, limits=Limits(wall_s=60))
    monkeypatch.setattr("slowfast_hub.video.container.time.perf_counter", map(float, count()).__next__)
    assert len(times_before(arriving, "wall_s")) < 60


def test_a_pipe_has_no_end_where_nobody_asks_for_one(tmp_path):
    with piped(write_counting(tmp_path / "a.mkv", 3)) as pipe:
        assert usual_limits(pipe) == usual_limits("-") == ENDLESS
    assert ENDLESS.duration_s == ENDLESS.wall_s == float("inf")
    assert ENDLESS.bytes == ENDLESS.frames == sys.maxsize
    assert usual_limits("rtsp://camera/1") == usual_limits(0) == LIVE
    assert usual_limits(CLIP) == usual_limits(b"..") == usual_limits(io.BytesIO()) == LONG


@pytest.mark.parametrize("leap_ms", [2_000_000, 10**12])
def test_a_leap_in_a_pipe_is_no_gap(tmp_path, leap_ms):
    """From frame 20 on the times say that half an hour has passed, or 30 years."""
    times = [40 * number + (leap_ms if number >= 20 else 0) for number in range(40)]
    path = write_counting(tmp_path / "a.mkv", 40, fps=25, times=times, time_base=MILLISECOND)
    found = [time_s for time_s, _ in arrive(piped(path), fps=None, limits=ENDLESS).frames]
    assert np.diff(found) == pytest.approx([1 / 25] * 39, abs=1e-6)


def test_a_pause_in_a_pipe_is_a_gap(tmp_path):
    times = [*range(0, 400, 40), *range(300_000, 300_400, 40)]
    path = write_counting(tmp_path / "a.mkv", 20, fps=25, times=times, time_base=MILLISECOND)
    found = [time_s for time_s, _ in arrive(piped(path), fps=None, limits=ENDLESS).frames]
    assert found == pytest.approx([time / 1000 for time in times])


def test_one_false_time_in_a_pipe_is_no_gap():
    frames = [(time_s, picture(0)) for time_s in (0.0, 0.1, 2000.2, 0.3, 0.4, 400.0)]
    times = [time_s for time_s, _ in without_breaks(iter(frames), fps=10.0, longest_s=LEAP_S)]
    assert times == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 400.0])


def test_one_file_after_the_other_in_a_pipe_goes_on(tmp_path):
    path = write_counting(tmp_path / "a.ts", 30, fps=25, codec="mpeg2video", pixels="yuv420p")
    (tmp_path / "twice.ts").write_bytes(path.read_bytes() * 2)
    times = [time_s for time_s, _ in arrive(piped(tmp_path / "twice.ts"), fps=None, limits=FILES).frames]
    assert np.diff(times) == pytest.approx([1 / 25] * 59, abs=1e-3)


@pytest.mark.parametrize(
    ("source", "live"),
    [
        (0, True),
        ("rtsp://camera/1", True),
        ("https://host/live.m3u8", True),
        ("a.mp4", False),
        ("-", False),
        (b"..", False),
    ],
)
def test_cameras_and_addresses_are_remote(source, live):
    assert is_remote(source) == live


def test_a_file_may_be_called_like_an_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_counting(tmp_path / "12:30.mkv", 5)
    assert not is_remote("12:30.mkv")
    assert numbers(arrive("12:30.mkv", fps=None, limits=FILES)) == [0, 1, 2, 3, 4]


@pytest.mark.skipif(sys.platform != "linux", reason="the camera's name is Linux's")
def test_a_camera_that_is_not_there_is_a_video_error():
    with pytest.raises(VideoError, match="camera 9999: cannot be opened"):
        arrive(9999, fps=None, limits=LIVE)


def test_what_is_no_source_says_what_is():
    with pytest.raises(TypeError, match=r"a camera's number, an address.*got float"):
        arrive(0.5, fps=None, limits=FILES)
    with pytest.raises(ValueError, match="leave fps out"):
        arrive("a.mp4", fps=25, limits=FILES)
    with pytest.raises(VideoLimitError, match="rtsp"):
        arrive("rtsp://127.0.0.1:1/x", fps=None, limits=FILES)
    with pytest.raises(VideoError, match=r"missing\.mp4"):
        arrive("missing.mp4", fps=None, limits=FILES)
