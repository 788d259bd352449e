"""Frame N is frame N, in every container, and what is no video raises VideoError."""

import io
import re
import struct
import subprocess
from array import array
from collections import deque
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_videos import MILLISECOND, Pipe, grey, levels, png_bytes, write_counting, write_video

from slowfast_hub.spec import Limits, VideoError, VideoLimitError
from slowfast_hub.video.picture import Painter
from slowfast_hub.video.reader import open_video, read_frames
from slowfast_hub.video.track import rate_of, track_of

X264 = {"codec": "libx264", "pixels": "yuv444p", "b_frames": 3}
OPEN_GOP = {"x264-params": "open-gop=1:scenecut=0:keyint=12:bframes=3:b-adapt=0", "qp": "1"}

# Lossy codecs: two levels between frames, and enough bits, keep the grey nearest to its own number.
CASES = {
    "ffv1.mkv": {},
    "h264.mp4": {**X264, "options": {"qp": "1"}},
    "open_gop.mp4": {**X264, "options": OPEN_GOP},
    "open_gop.mkv": {**X264, "options": OPEN_GOP},
    "open_gop.ts": {**X264, "options": OPEN_GOP},
    "h264.avi": {**X264, "options": {"qp": "1"}},  # AVI has no presentation times
    "raw.h264": {**X264, "options": {"qp": "1"}},  # no times at all
    "mpeg4.avi": {"codec": "mpeg4", "pixels": "yuv420p", "b_frames": 2, "options": {"q": "1", "b": "8M"}},
    "mjpeg.avi": {"codec": "mjpeg", "pixels": "yuvj420p", "options": {"q": "1", "b": "8M"}},
    "mpeg2.mpg": {"codec": "mpeg2video", "pixels": "yuv420p", "b_frames": 2, "options": {"b": "8M"}},
    "one_second_late.mp4": {**X264, "options": {"qp": "1"}, "times": range(25, 115)},
    "varying.mkv": {**X264, "options": {"qp": "1"}, "time_base": MILLISECOND,
                    "times": [20 * k + (k % 7) * 3 + (k // 10) * 200 for k in range(90)]},
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("videos")


@pytest.mark.parametrize("name", CASES)
def test_frame_n_is_frame_n_wherever_reading_begins(name, folder):
    path = write_video(folder / name, [grey(20 + 2 * k) for k in range(90)], **CASES[name])
    reader = open_video(path)
    assert reader.info.frames == 90
    assert (reader.info.times_s is not None) == (name == "varying.mkv")
    for numbers in (range(90), range(0, 90, 13), [89], [11], [12], [13], range(40, 50), [3, 70, 71]):
        found = torch.stack(list(reader.stream(numbers))).float().mean((1, 2, 3))
        assert ((found - 20) / 2 - torch.tensor(list(numbers))).abs().max() < 0.8, name


def test_any_order_and_repeats_in_any_shape(counting_video):
    reader = open_video(counting_video())
    indices = torch.tensor([[89, 0, 40], [40, 40, 7]])
    frames = read_frames(reader, indices)
    assert frames.shape == (2, 3, 48, 64, 3)
    assert frames.dtype == torch.uint8
    assert levels(frames) == [89, 0, 40, 40, 40, 7]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(numbers=st.lists(st.integers(0, 89), min_size=1, max_size=12))
def test_any_frames_of_a_lossless_video_are_exact(numbers, folder):
    path = folder / "exact.mkv"
    reader = open_video(path if path.exists() else write_counting(path, 90))
    assert levels(read_frames(reader, torch.tensor(numbers))) == numbers


def test_each_frame_is_converted_once(counting_video, monkeypatch):
    reader, converted, paint = open_video(counting_video()), [], Painter.__call__
    monkeypatch.setattr(Painter, "__call__", lambda self, frame: converted.append(frame.pts) or paint(self, frame))
    read_frames(reader, torch.tensor([5, 5, 60, 5]))
    assert len(converted) == 2


def test_reading_begins_at_a_keyframe_near_the_frame(counting_video):
    track = open_video(counting_video(gop=12))._track
    assert [track.key(number) for number in (0, 11, 30)] == [None, None, 24 * 40]  # ms at 25 fps


def test_info_of_a_file_whose_header_says_no_frames(counting_video):
    info = open_video(counting_video(90, fps=Fraction(30000, 1001))).info
    assert (info.frames, info.width, info.height, info.start_s, info.times_s) == (90, 64, 48, 0.0, None)
    assert info.fps == pytest.approx(30000 / 1001, abs=1e-9)


def test_varying_rate_is_reported_with_its_times(counting_video):
    times = [0, 40, 80, 500, 540]
    info = open_video(counting_video(5, times=times, time_base=MILLISECOND)).info
    assert info.times_s.tolist() == pytest.approx([t / 1000 for t in times])
    assert info.fps == pytest.approx(4 / 0.54)
    assert info.duration_s == pytest.approx(0.54 + 0.54 / 4)


def test_declared_rate_stands_where_times_are_repeated():
    assert rate_of(np.array([0.0, 0.04, 0.04, 0.08]), 4, rate=25.0) == (25.0, True)
    assert rate_of(np.array([0.0]), 1, rate=0.0) == (30.0, True)
    assert rate_of(np.array([]), 3, rate=25.0) == (25.0, True)  # no times at all


def test_times_override_a_declared_rate_that_is_wrong():
    fps, steady = rate_of(np.arange(50) / 25, 50, rate=1000.0)  # Matroska may declare its tick as the rate
    assert (round(fps, 6), steady) == (25.0, True)
    assert rate_of(np.arange(2) / 25, 2, rate=0.0) == (25.0, True)  # none is declared


def test_a_frame_that_was_dropped_leaves_the_rate_steady_and_the_times_exact(counting_video):
    # 25 fps without its 36th frame: no frame is more than half a frame off the mean rate, and each keeps its own time.
    times = [k for k in range(71) if k != 35]
    info = open_video(counting_video(70, times=times, time_base=Fraction(1, 25), codec="libx264", pixels="yuv444p",
                                     name="gap.mp4")).info  # fmt: skip
    assert (info.fps, info.times_s) == (pytest.approx(70 / 2.84), None)
    assert [info.time_s(k) for k in (0, 34, 35, 69)] == pytest.approx([0.0, 1.36, 1.44, 2.8])
    assert info.end_s(34) == pytest.approx(1.44)
    assert info.duration_s == pytest.approx(70 / info.fps)


def test_numbering_begins_at_the_first_picture_that_decodes():
    times = array("q", [40, 0, 20, 60])
    track = track_of(times, bytearray([1, 0, 0, 0]), times, 40, lean=True)
    assert (list(track.times), list(track.keys), track.lean) == ([40, 60], [40], True)


@pytest.mark.parametrize("count", [1, 2])
def test_shortest_files(counting_video, count):
    reader = open_video(counting_video(count))
    assert reader.info.frames == count
    assert levels(read_frames(reader, torch.arange(count))) == list(range(count))


ONE = 1 << 16  # 16.16 fixed point; the third column is 2.30
TURNS = {
    # What the matrix (a b, c d) does to the corners of a stored picture whose corners are  1 2
    #                                                                                       3 4
    "upright": ((ONE, 0, 0, ONE), [[1, 2], [3, 4]], 0),
    "quarter right": ((0, ONE, -ONE, 0), [[3, 1], [4, 2]], 270),
    "half": ((-ONE, 0, 0, -ONE), [[4, 3], [2, 1]], 180),
    "quarter left": ((0, -ONE, ONE, 0), [[2, 4], [1, 3]], 90),
    "mirrored": ((-ONE, 0, 0, ONE), [[2, 1], [4, 3]], None),
    "upside down": ((ONE, 0, 0, -ONE), [[3, 4], [1, 2]], None),
    "transposed": ((0, ONE, ONE, 0), [[1, 3], [2, 4]], None),
}


@pytest.mark.parametrize("turn", TURNS)
def test_pictures_are_upright(turn, tmp_path):
    (a, b, c, d), corners, rotation = TURNS[turn]
    picture = np.kron(np.array([[1, 2], [3, 4]]) * 50, np.ones((16, 32))).astype(np.uint8)  # 32 x 64
    matrix = (a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path = write_video(
        tmp_path / "turned.mp4",
        [np.stack([picture] * 3, -1)] * 3,
        codec="libx264",
        pixels="yuv444p",
        options={"qp": "1"},
        display_matrix=matrix,
    )
    reader = open_video(path)
    frame = next(reader.stream([0])).float().mean(-1)
    height, width = frame.shape
    assert (reader.info.height, reader.info.width) == (height, width) == ((64, 32) if a == 0 else (32, 64))
    found = frame[height // 4 :: height // 2, width // 4 :: width // 2] / 50
    assert found.round().int().tolist() == corners
    assert rotation is None or reader.info.rotation == rotation


def test_bytes_file_objects_and_urls_give_the_same_frames(counting_video):
    path = counting_video()
    raw = path.read_bytes()
    with path.open("rb") as file:
        for video in (str(path), raw, io.BytesIO(raw), file, Pipe(raw), f"file:{path}"):
            assert levels(read_frames(open_video(video), torch.tensor([50, 3]))) == [50, 3]


def test_a_colon_in_a_file_name_is_no_protocol(counting_video, monkeypatch):
    monkeypatch.chdir(counting_video(name="12:30.mkv").parent)
    assert open_video("12:30.mkv").info.frames == 90


def test_arrays_and_tensors():
    frames = np.stack([grey(level) for level in range(10)])
    for video in (frames, torch.from_numpy(frames), frames[::-1][::-1]):
        reader = open_video(video, fps=12)
        assert (reader.info.frames, reader.info.fps, reader.info.width, reader.info.height) == (10, 12, 64, 48)
        assert levels(read_frames(reader, torch.tensor([9, 2]))) == [9, 2]
    assert open_video(frames).info.fps == 30


def test_a_folder_of_images_is_read_as_people_count(tmp_path):
    for number in range(12):
        (tmp_path / f"100%_frame{number}.png").write_bytes(png_bytes(grey(number)))
    (tmp_path / "notes.txt").write_text("not a frame")
    reader = open_video(tmp_path, fps=5)
    assert (reader.info.frames, reader.info.fps) == (12, 5)
    assert levels(read_frames(reader, torch.arange(12))) == list(range(12))


def test_empty_folder(tmp_path):
    with pytest.raises(VideoError, match="without frame images"):
        open_video(tmp_path)


@pytest.mark.parametrize(
    ("frames", "error", "words"),
    [
        (np.zeros((2, 4, 4, 3), np.float32), TypeError, "got float32"),
        (torch.full((2, 4, 4, 3), float("nan")), TypeError, "got float32"),
        (np.zeros((2, 3, 4, 4), np.uint8), ValueError, r"got \(2, 3, 4, 4\): permute"),
        (np.zeros((4, 4, 3), np.uint8), ValueError, r"got \(4, 4, 3\)"),
        (np.zeros((0, 4, 4, 3), np.uint8), ValueError, "no empty side"),
        (7, TypeError, "got int"),
        (io.StringIO("text"), TypeError, "got StringIO"),
    ],
)
def test_wrong_objects_say_what_was_expected(frames, error, words):
    with pytest.raises(error, match=words):
        open_video(frames)


def test_fps_of_a_file_is_refused(counting_video):
    with pytest.raises(ValueError, match="a file carries its own rate"):
        open_video(counting_video(3), fps=25)


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf")])
def test_impossible_rates_are_refused(fps):
    with pytest.raises(ValueError, match="positive rate"):
        open_video(np.zeros((2, 4, 4, 3), np.uint8), fps=fps)


def test_frames_outside_the_video_and_out_of_order(counting_video):
    reader = open_video(counting_video(5))
    for outside in ([5], [-1]):
        with pytest.raises(IndexError, match=r"frames 0\.\.4"):
            list(reader.stream(outside))
    for unordered in ([3, 1], [2, 2]):
        with pytest.raises(ValueError, match="ascending"):
            list(reader.stream(unordered))
    assert list(reader.stream([])) == []


@pytest.mark.parametrize(
    ("video", "words"),
    [
        (b"", "cannot be read as a video"),
        (b"not a video", "cannot be read as a video"),
        ("missing.mp4", "missing.mp4: there is no such file"),
        ("http://127.0.0.1:9/none.mp4", "cannot be read as a video"),
    ],
)
def test_what_is_no_video_is_a_video_error(video, words):
    with pytest.raises(VideoError, match=words):
        open_video(video)


def test_bytes_that_are_a_playlist_open_nothing(counting_video):
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{counting_video()}\n#EXT-X-ENDLIST\n"
    with pytest.raises(VideoError):
        open_video(playlist.encode())


def test_error_says_how_far_decoding_got(shared):
    reader = open_video(shared / "data/robustness/real/decord__corrupted.mp4")
    assert len(list(reader.stream([0, 10]))) == 2  # before the damage
    with pytest.raises(VideoError, match=r"decoding reached frame 28 of 50, then InvalidDataError .*; re-encode it"):
        list(reader.stream(range(50)))


def expected_files(shared: Path) -> dict[str, tuple[str, int]]:
    """PROBE.md's table: file -> (result, frames decoded)."""
    text = (shared / "data/robustness/PROBE.md").read_text()
    rows = re.findall(r"^\| (\S+) \| \d+ \| ([^|]+) \| [^|]+ \| (\d+|-) /", text, flags=re.MULTILINE)
    return {name: (result, int(count) if count.isdigit() else 0) for name, result, count in rows}


def test_difficult_files_decode_whole_or_raise_video_error(shared):
    files = expected_files(shared)
    assert len(files) > 100
    for name, (result, count) in files.items():
        path = shared / "data/robustness" / name
        if result != "ok":
            with pytest.raises(VideoError):  # a clip from before or behind the damage may still be had
                read_every_frame(path)
            continue
        # This one has two video streams: the table counts the first, the reader takes the larger.
        expected = 390 if name == "real/torchcodec__nasa_13013.mp4" else count
        assert read_to_the_end(path) == expected, name


def read_every_frame(path: Path) -> None:
    reader = open_video(path)
    deque(reader.stream(range(reader.info.frames)), maxlen=0)


def read_to_the_end(path: Path) -> int:
    """How many frames a file has, after decoding them all and looking at up to 20, the last one included."""
    reader = open_video(path)
    last = reader.info.frames - 1
    seen = list(reader.stream(sorted({last * k // 19 for k in range(20)})))
    assert {tuple(frame.shape) for frame in seen} == {(reader.info.height, reader.info.width, 3)}
    return reader.info.frames


def jpeg(picture: np.ndarray, *, turn: int) -> bytes:
    """A JPEG file with an EXIF tag for its orientation, as phones write it."""
    codec = av.CodecContext.create("mjpeg", "w")
    codec.height, codec.width, codec.pix_fmt, codec.time_base = *picture.shape[:2], "yuvj444p", Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuvj444p")
    content = b"".join(bytes(packet) for packet in [*codec.encode(frame), *codec.encode(None)])
    tag = struct.pack(">HHIHH", 0x0112, 3, 1, turn, 0)  # orientation, a short, one of them
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01" + tag + bytes(4)
    return content[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + content[2:]


def test_images_of_phones_have_a_turn_each(tmp_path):
    picture = np.zeros((16, 32, 3), np.uint8)
    picture[:8] = 200  # bright above
    (tmp_path / "0.jpg").write_bytes(jpeg(picture, turn=1))
    (tmp_path / "1.jpg").write_bytes(jpeg(picture, turn=3))  # upside down
    reader = open_video(tmp_path)
    upright, turned = reader.stream([0, 1])
    (alone,) = reader.stream([1])
    assert upright[:8].float().mean() > 190 > 10 > upright[8:].float().mean()
    assert turned[8:].float().mean() > 190 > 10 > turned[:8].float().mean()
    assert torch.equal(alone, turned)


def test_a_pipe_of_the_system_is_read_in_pieces(counting_video):
    with subprocess.Popen(["cat", counting_video()], stdout=subprocess.PIPE) as process:
        assert open_video(process.stdout).info.frames == 90


def test_folders_have_limits_too(tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(png_bytes(grey(number)))
    with pytest.raises(VideoLimitError, match=r"lasts 0\.1 s, longer than 0\.05 s"):
        open_video(tmp_path, limits=Limits(duration_s=0.05))
    with pytest.raises(VideoLimitError, match="more than 2 frames had to be decoded"):
        list(open_video(tmp_path, limits=Limits(frames=2)).stream(range(3)))


def test_sound_counts_for_the_size_of_a_file(tmp_path):
    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as container:
        video, sound = container.add_stream("ffv1", rate=25), container.add_stream("pcm_s16le", rate=48000)
        video.height, video.width, video.pix_fmt, sound.layout = 48, 64, "bgr0", "mono"
        for number in range(10):
            frame = av.VideoFrame.from_ndarray(grey(number), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(video.encode(frame))
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1920), np.int16), format="s16", layout="mono")
            silence.sample_rate, silence.pts, silence.time_base = 48000, 1920 * number, Fraction(1, 48000)
            container.mux(sound.encode(silence))
        container.mux([*video.encode(), *sound.encode()])
    reader = open_video(path)
    assert levels(torch.stack(list(reader.stream(range(10))))) == list(range(10))
    chunked = io.BytesIO(path.read_bytes())
    chunked.seekable = lambda: False  # what a server sends has no size before it has come
    assert len(path.read_bytes()) > 38_400  # of sound alone
    with pytest.raises(VideoLimitError, match="more than 30000"):
        open_video(chunked, limits=Limits(bytes=30_000))
