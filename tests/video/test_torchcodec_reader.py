"""torchcodec gives the very frames that PyAV gives, or says that PyAV must; and no file leads it anywhere."""

import io
import pickle
import re
import sys
from array import array
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from local_server import LocalServer
from made_videos import MILLISECOND, Pipe, grey, write_video

from slowfast_hub.spec import Limits, VideoError, VideoLimitError
from slowfast_hub.video import torchcodec_reader
from slowfast_hub.video.container import Meter
from slowfast_hub.video.reader import open_video, read_frames
from slowfast_hub.video.torchcodec_reader import TorchCodecReader, video_decoder


def missing() -> str:
    """Why torchcodec cannot be used here; "" if it can."""
    try:
        video_decoder()
    except ImportError as error:
        return str(error)
    return ""


needs_torchcodec = pytest.mark.skipif(bool(missing()), reason=missing())

X264 = {"codec": "libx264", "pixels": "yuv420p", "b_frames": 3, "options": {"qp": "1"}}
OPEN_GOP = {"x264-params": "open-gop=1:scenecut=0:keyint=12:bframes=3:b-adapt=0", "qp": "1"}
CASES = {
    "ffv1.mkv": {},
    "h264.mp4": X264,
    "long_gop.mp4": {**X264, "gop": 250},
    "open_gop.mkv": {**X264, "options": OPEN_GOP},
    "mjpeg.avi": {"codec": "mjpeg", "pixels": "yuvj420p", "options": {"q": "1", "b": "8M"}},
    "one_second_late.mp4": {**X264, "times": range(25, 115)},
    "varying.mkv": {**X264, "time_base": MILLISECOND,
                    "times": [20 * k + (k % 7) * 3 + (k // 10) * 200 for k in range(90)]},
}  # fmt: skip


def noise(count: int, *, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """Pictures without two equal pixels side by side, so that colours taken from the wrong place show."""
    draw = np.random.default_rng(0)
    return [draw.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(count)]


@needs_torchcodec
@pytest.mark.parametrize("name", CASES)
def test_frames_are_those_of_pyav_wherever_reading_begins(name, tmp_path):
    path = write_video(tmp_path / name, [grey(20 + 2 * k) for k in range(90)], **CASES[name])
    ours, theirs = open_video(path), open_video(path, backend="torchcodec")
    assert theirs.info == ours.info
    assert (theirs.info.times_s is None) == (ours.info.times_s is None)
    for numbers in (range(90), range(0, 90, 13), [89], [11], [12], [13], range(40, 50), [3, 70, 71]):
        found = torch.stack(list(theirs.stream(numbers)))
        assert torch.equal(found, torch.stack(list(ours.stream(numbers))))
        assert ((found.float().mean((1, 2, 3)) - 20) / 2 - torch.tensor(list(numbers))).abs().max() < 0.8


@needs_torchcodec
@pytest.mark.parametrize(
    ("pixels", "codec", "height", "width"),
    [
        ("yuv420p", "ffv1", 48, 64),  # torchcodec has two ways to RGB: for widths that 32 divides ...
        ("yuv420p", "ffv1", 46, 63),  # ... and for the others
        ("yuv422p", "ffv1", 46, 63),
        ("yuva420p", "ffv1", 46, 63),
        ("yuvj420p", "mjpeg", 48, 64),
        ("yuv444p", "ffv1", 47, 63),
        ("yuv444p10le", "ffv1", 47, 63),
        ("gray", "ffv1", 47, 63),
        ("bgr0", "ffv1", 47, 63),
    ],
)
def test_every_level_of_every_pixel_is_the_same(pixels, codec, height, width, tmp_path):
    pictures = noise(3, height=height, width=width)
    path = write_video(tmp_path / "noise.mkv", pictures, codec=codec, pixels=pixels)
    ours, theirs = (read_frames(open_video(path, backend=each), torch.arange(3)) for each in ("pyav", "torchcodec"))
    assert torch.equal(ours, theirs)


@needs_torchcodec
@pytest.mark.parametrize(("pixels", "height"), [("yuv420p", 47), ("yuv440p", 48), ("yuv420p10le", 48)])
def test_colours_that_each_ffmpeg_interpolates_are_refused(pixels, height, tmp_path):
    path = write_video(tmp_path / "fine.mkv", noise(3, height=height), pixels=pixels)
    with pytest.raises(VideoError, match=rf"fine\.mkv: .* in {pixels}, whose colours are interpolated.*pyav"):
        open_video(path, backend="torchcodec")
    ours = read_frames(open_video(path), torch.arange(3))
    theirs = torch.stack([video_decoder()(path, dimension_order="NHWC", device="cpu")[k] for k in range(3)])
    assert (ours.int() - theirs.int()).abs().max() > 2  # else there is nothing to refuse


ONE = 1 << 16  # 16.16 fixed point
TURNS = {
    "quarter right": (0, ONE, -ONE, 0),
    "half": (-ONE, 0, 0, -ONE),
    "quarter left": (0, -ONE, ONE, 0),
    "mirrored": (-ONE, 0, 0, ONE),
    "upside down": (ONE, 0, 0, -ONE),
    "transposed": (0, ONE, ONE, 0),
}


@needs_torchcodec
@pytest.mark.parametrize("turn", TURNS)
def test_pictures_are_upright_or_refused(turn, tmp_path):
    a, b, c, d = TURNS[turn]
    matrix = (a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path = write_video(tmp_path / "turned.mp4", noise(3), **X264, display_matrix=matrix)
    if a * d - b * c < 0:
        with pytest.raises(VideoError, match="mirrored"):
            open_video(path, backend="torchcodec")
        return
    ours, theirs = (read_frames(open_video(path, backend=each), torch.arange(3)) for each in ("pyav", "torchcodec"))
    assert ours.shape[1:3] == ((64, 48) if a == 0 else (48, 64))
    assert torch.equal(ours, theirs)


@needs_torchcodec
def test_a_turn_that_torchcodec_does_not_see_is_refused(counting_video):
    reader = open_video(counting_video(3), backend="torchcodec")
    reader.info = replace(reader.info, rotation=180)  # as of a message in the stream, not of the file
    with pytest.raises(VideoError, match="turned in a way that torchcodec does not see"):
        list(reader.stream([0]))


@needs_torchcodec
def test_times_that_are_made_up_are_refused(tmp_path):
    path = write_video(tmp_path / "h264.avi", [grey(20 + 2 * k) for k in range(20)], **X264)
    with pytest.raises(VideoError, match="no presentation times"):
        open_video(path, backend="torchcodec")


@needs_torchcodec
def test_a_file_in_which_torchcodec_finds_another_frame_is_refused(tmp_path):
    path = write_video(tmp_path / "open_gop.ts", [grey(20 + 2 * k) for k in range(90)], **{**X264, "options": OPEN_GOP})
    with pytest.raises(
        VideoError, match=r"frame 0 is due at 0\.080000 s and torchcodec gives that of 0\.560000 s; open"
    ):
        open_video(path, backend="torchcodec")


@needs_torchcodec
def test_a_frame_with_another_time_than_the_table_is_refused(counting_video):
    reader = open_video(counting_video(20), backend="torchcodec")
    late = array("q", (time + 25 if time == 400 else time for time in reader._track.times))  # ms, at 25 fps
    reader._track = replace(reader._track, times=late)
    assert len(list(reader.stream([0, 9]))) == 2
    with pytest.raises(VideoError, match=r"frame 10 is due at 0\.425000 s .* that of 0\.400000 s; open it with"):
        list(reader.stream([0, 9, 10]))


@needs_torchcodec
def test_paths_bytes_file_objects_and_pipes_give_the_same_frames(counting_video, monkeypatch):
    path = counting_video(60, name="12:30.mkv")
    monkeypatch.chdir(path.parent)
    raw = path.read_bytes()
    with path.open("rb") as file:
        for video in (path, "12:30.mkv", f"file:{path}", raw, io.BytesIO(raw), file, Pipe(raw)):
            reader = open_video(video, backend="torchcodec")
            assert (reader.backend, reader.info.frames) == ("torchcodec", 60)
            assert [int(frame.float().mean().round()) for frame in reader.stream([3, 50])] == [3, 50]


@needs_torchcodec
def test_addresses_are_refused_before_anything_is_asked_of_them(server: LocalServer):
    with pytest.raises(VideoError, match="is an address, and torchcodec reads files only"):
        open_video(f"{server.url}/clip.mp4", backend="torchcodec")
    assert server.seen == []


@needs_torchcodec
def test_a_playlist_leads_nowhere(server: LocalServer, counting_video):
    addresses = (f"{server.url}/part.ts", f"file://{counting_video()}")
    for address in addresses:
        playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{address}\n#EXT-X-ENDLIST\n".encode()
        with pytest.raises(VideoError):
            open_video(playlist, backend="torchcodec")
        # ... and if it came past our own rules in the guise of a video:
        with pytest.raises(RuntimeError):
            video_decoder()(io.BytesIO(playlist), device="cpu")
    assert server.seen == []


@needs_torchcodec
def test_frames_outside_the_video_out_of_order_and_none_at_all(counting_video):
    reader = open_video(counting_video(5), backend="torchcodec")
    for outside in ([5], [-1]):
        with pytest.raises(IndexError, match=r"frames 0\.\.4"):
            list(reader.stream(outside))
    with pytest.raises(ValueError, match="ascending"):
        list(reader.stream([3, 1]))
    assert list(reader.stream([])) == []


@needs_torchcodec
def test_readers_stay_in_their_process(counting_video):
    with pytest.raises(TypeError, match="open the video in the worker"):
        pickle.dumps(open_video(counting_video(3), backend="torchcodec"))


@needs_torchcodec
def test_decoding_is_counted_from_the_keyframe_and_in_steps(tmp_path, monkeypatch):
    path = write_video(
        tmp_path / "gop.mp4",
        (grey(k // 2) for k in range(300)),
        **{**X264, "gop": 250, "options": {"x264-params": "scenecut=0"}},
    )
    reader, counted, count = open_video(path, backend="torchcodec"), [], Meter.decoded
    monkeypatch.setattr(Meter, "decoded", lambda self, frames: counted.append(frames) or count(self, frames))
    list(reader.stream([10, 200, 260]))
    assert counted == [11, 64, 64, 62, 11]  # 0..10; 11..74, 75..138, 139..200; 250..260


@needs_torchcodec
def test_limits_hold_while_reading(counting_video):
    path = counting_video(90, gop=90)
    reader = TorchCodecReader(path, Limits(frames=80))
    assert len(list(reader.stream([79]))) == 1
    with pytest.raises(VideoLimitError, match="more than 80 frames"):
        list(reader.stream([80]))
    reader._limits = Limits(wall_s=1e-9)
    with pytest.raises(VideoLimitError, match="wall_s"):
        list(reader.stream([0, 80]))


@needs_torchcodec
@pytest.mark.parametrize("device", ["mps", "meta"])
def test_other_devices_are_refused(device, counting_video):
    with pytest.raises(ValueError, match="decodes on 'cpu' or 'cuda'"):
        TorchCodecReader(counting_video(3), Limits(), device=device)


@needs_torchcodec
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_here_is_refused(counting_video):
    with pytest.raises(ValueError, match="no CUDA device"):
        TorchCodecReader(counting_video(3), Limits(), device="cuda")


@needs_torchcodec
@pytest.mark.gpu
def test_nvdec_gives_the_same_pictures_and_leaves_them_on_the_gpu(tmp_path):
    pictures = [np.kron(each, np.ones((8, 8, 1), np.uint8)) for each in noise(90, height=32, width=40)]
    path = write_video(tmp_path / "h264.mp4", pictures, **X264)
    ours, theirs = open_video(path), TorchCodecReader(path, Limits(), device="cuda")
    for numbers in (range(90), [11], [12, 70]):
        for expected, found in zip(ours.stream(numbers), theirs.stream(numbers), strict=True):
            assert found.device.type == "cuda"
            assert (found.cpu().int() - expected.int()).abs().max() <= 3  # its colours are rounded otherwise


def test_without_torchcodec_the_error_says_what_to_install(counting_video, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchcodec", None)
    with pytest.raises(ImportError, match=r'pip install "slowfast-hub\[torchcodec\]", and the libraries of FFmpeg'):
        open_video(counting_video(3), backend="torchcodec")


@needs_torchcodec
def test_without_ffmpeg_the_error_says_so(counting_video, monkeypatch):
    monkeypatch.setattr("torchcodec.ffmpeg_major_version", None)
    with pytest.raises(ImportError, match=r"finds no FFmpeg libraries, .* apt install ffmpeg"):
        open_video(counting_video(3), backend="torchcodec")


@needs_torchcodec
def test_versions_that_follow_files_elsewhere_are_refused(counting_video, monkeypatch):
    monkeypatch.setattr(torchcodec_reader, "version", lambda name: "0.16.1+cpu")
    with pytest.raises(ImportError, match=r"0\.16\.1\+cpu would follow a file to others; at least 0\.17"):
        open_video(counting_video(3), backend="torchcodec")


@needs_torchcodec
def test_a_damaged_file_is_a_video_error_that_names_it(shared):
    path = shared / "data/robustness/real/decord__corrupted.mp4"
    reader = open_video(path, backend="torchcodec")
    with pytest.raises(VideoError, match=r"decord__corrupted\.mp4: torchcodec reached frame \d+ of 50, then: .*pyav"):
        list(reader.stream(range(50)))


# Of the difficult files that PyAV decodes whole.
REFUSED = {
    "h264_10bits.mp4", "h265_10bits.mp4", "bt2020_10bit.mp4", "nasa_13013_hdr.mp4", "testsrc2_hdr.mp4",
    "testsrc2_12bit_hdr.mp4", "testsrc2_av1_10bit.mp4", "testsrc2_odd_width_vp9_10bit.mp4",
    "testsrc2_odd_height_vp9.mp4", "testsrc2_odd_height_vp9_10bit.mp4", "testsrc2_odd_height_and_width_mpeg2.mp4",
    "testsrc2_odd_height_and_width_vp9.mp4", "testsrc2_odd_height_and_width_vp9_10bit.mp4",  # their colours
    "S001C001P001R001A001_rgb.avi", "test.avi",  # no times
    "sine_stereo_mp2.mpg",  # torchcodec seeks too far
    "no_duration.webm",  # a rule of torchcodec
}  # fmt: skip


@needs_torchcodec
def test_difficult_files_give_the_same_frames_or_are_refused(shared):
    same, refused = 0, set()
    for name in whole_files(shared):
        path = shared / "data/robustness" / name
        ours = open_video(path)
        try:
            theirs = open_video(path, backend="torchcodec")
        except VideoError:
            refused.add(path.name.rpartition("__")[2])
            continue
        last = min(
            ours.info.frames - 1, 100
        )  # all 8,000 frames of the 76 files are the same; here a few stand for them
        numbers = sorted({last * k // 2 for k in range(3)})
        assert all(map(torch.equal, ours.stream(numbers), theirs.stream(numbers))), name
        same += 1
    assert refused == REFUSED
    assert same == 76


def whole_files(shared: Path) -> list[str]:
    """The files that PyAV decodes whole: PROBE.md's table."""
    return re.findall(r"^\| (\S+) \| \d+ \| ok \|", (shared / "data/robustness/PROBE.md").read_text(), re.MULTILINE)


@needs_torchcodec
def test_arrays_need_no_decoder():
    assert open_video(np.stack([grey(1)] * 3), backend="torchcodec").backend == "memory"


@needs_torchcodec
def test_a_tick_is_no_whole_number_of_microseconds(tmp_path):
    path = write_video(tmp_path / "ntsc.mp4", [grey(20 + 2 * k) for k in range(60)], fps=Fraction(30000, 1001), **X264)
    assert len(list(open_video(path, backend="torchcodec").stream(range(60)))) == 60
