"""What a file may ask of this machine, every limit from both sides; and that no file leads to another."""

import base64
import io
import itertools
import os
import pickle
import re
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from local_server import Handler, Seen, file, status
from made_videos import Pipe, grey, levels, png_bytes, write_counting, write_video

from slowfast_hub.spec import Limits, VideoError, VideoLimitError
from slowfast_hub.video.reader import open_video, read_frames

FRAMES, FPS, PIXELS = 10, 25, 64 * 48
X264 = {"codec": "libx264", "pixels": "yuv444p", "options": {"qp": "1", "sc_threshold": "0"}}


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    """Ten frames of 64 x 48 px at 25 fps: 0.4 s."""
    return write_counting(tmp_path_factory.mktemp("limits") / "video.mkv", FRAMES, fps=FPS)


def read(video: object, numbers: list[int], limits: Limits | None = None) -> list[int]:
    return levels(read_frames(open_video(video, limits=limits), torch.tensor(numbers)))


def refused(video: object, limit: str, numbers: list[int] | None = None, **limits: object) -> str:
    """The message of the error that a video beyond `limits` gives; it names the limit and how to raise it."""
    with pytest.raises(VideoLimitError) as caught:
        read(video, numbers or [0], Limits(**limits))
    assert caught.value.limit == limit
    assert f"if the file can be trusted, open it with other Limits({limit}=...)" in str(caught.value)
    return str(caught.value)


# Every limit, from both sides


def test_bytes_of_a_file_of_bytes_and_of_a_file_object(video):
    raw = video.read_bytes()
    for same in (video, str(video), raw, io.BytesIO(raw), Pipe(raw)):
        message = refused(same, "bytes", bytes=len(raw) - 1)
        assert re.search(rf"has {len(raw)} bytes, more than {len(raw) - 1};", message)
    for same in (video, str(video), raw, io.BytesIO(raw), Pipe(raw)):
        assert read(same, [9], Limits(bytes=len(raw))) == [9]


def test_a_pipe_is_read_no_further_than_the_limit():
    pipe = Pipe(bytes(1_000_000))
    refused(pipe, "bytes", bytes=1000)
    assert len(pipe.read()) == 1_000_000 - 1001


def test_bytes_that_a_server_announces(video, server):
    raw = video.read_bytes()
    url = server.serve("/video.mkv", file(raw))
    assert f"has {len(raw)} bytes, more than {len(raw) - 1};" in refused(url, "bytes", bytes=len(raw) - 1)
    assert read(url, [9], Limits(bytes=len(raw))) == [9]


def test_bytes_of_a_server_that_does_not_say_how_many(video, server):
    raw = video.read_bytes()
    url = server.serve("/video.mkv", lambda handler, seen: in_one_chunk(handler, seen, raw))
    assert "has more than 1000 bytes;" in refused(url, "bytes", bytes=1000)
    assert read(url, [9], Limits(bytes=len(raw))) == [9]


def in_one_chunk(handler: Handler, seen: Seen, content: bytes) -> None:
    handler.start(seen, 200, {"Transfer-Encoding": "chunked"})
    handler.send(seen, b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content))


def test_duration(video):
    assert read(video, [9], Limits(duration_s=0.4)) == [9]
    assert "lasts 0.4 s, longer than 0.39 s;" in refused(video, "duration_s", duration_s=0.39)


def test_duration_is_that_of_the_pictures_and_not_what_a_header_claims(tmp_path):
    path = write_counting(tmp_path / "video.mp4", FRAMES, fps=FPS, codec="libx264", pixels="yuv444p")
    raw = path.read_bytes()
    claim = raw.index(b"mvhd") + 4 + 16  # version, flags, created, changed, scale: then the duration
    assert open_video(raw[:claim] + b"\x7f\xff\xff\xff" + raw[claim + 4 :]).info.duration_s == pytest.approx(0.4)


def test_pixels_of_a_picture(tmp_path):
    path = write_counting(tmp_path / "video.mp4", FRAMES, **X264)
    assert read(path, [9], Limits(pixels=PIXELS)) == [9]
    assert f"has pictures of 64 x 48 px, more than {PIXELS - 1} px;" in refused(path, "pixels", pixels=PIXELS - 1)


def test_pixels_that_a_decoder_will_not_begin_with(video, tmp_path):
    gif = write_counting(tmp_path / "video.gif", FRAMES, codec="gif", pixels="gray")
    for path in (video, gif):
        assert open_video(path, limits=Limits(pixels=PIXELS)).info.frames == FRAMES
        assert f"more than {PIXELS - 1} px" in refused(path, "pixels", pixels=PIXELS - 1)


def test_pixels_of_a_folder_of_images(tmp_path):
    (tmp_path / "0.png").write_bytes(png_bytes(grey(0)))
    assert read(tmp_path, [0], Limits(pixels=PIXELS)) == [0]
    refused(tmp_path, "pixels", pixels=PIXELS - 1)


def test_pictures_that_grow_behind_what_is_looked_at_first(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    lossless = {"codec": "libx264", "pixels": "yuv444p", "options": {"qp": "0", "preset": "ultrafast"}, "gop": 1}
    moving = (np.roll(noise, step, 1) for step in range(450))
    small = write_video(tmp_path / "small.h264", moving, **lossless).read_bytes()
    large = write_video(tmp_path / "large.h264", [grey(200, height=480, width=640)] * 5, **lossless).read_bytes()
    assert len(small) > 5_000_000  # as far as FFmpeg looks when it opens a file
    assert read(small + large, [453]) == [200]
    with pytest.raises(VideoError, match="reached frame 450 of 455"):
        read(small + large, [453], Limits(pixels=PIXELS))


def test_frames_decoded_in_one_reading(tmp_path):
    path = write_counting(tmp_path / "video.mp4", 40, gop=12, **X264)
    assert read(path, [5], Limits(frames=6)) == [5]  # 0 to 5
    assert read(path, [29], Limits(frames=6)) == [29]  # 24 to 29: keyframes stand at 0, 12, 24, 36
    assert "more than 5 frames had to be decoded;" in refused(path, "frames", [5], frames=5)
    refused(path, "frames", [29], frames=5)
    reader = open_video(path, limits=Limits(frames=6))
    assert [levels(frame)[0] for _ in range(3) for frame in reader.stream([5])] == [5, 5, 5]  # each reading by itself


def test_seconds_inside_ffmpeg(video, monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr("slowfast_hub.video.container.time.perf_counter", lambda: next(clock))  # 1 s for each step
    open_video(video)
    assert next(clock) > FRAMES  # each packet is a step
    assert open_video(video, limits=Limits(wall_s=FRAMES + 10)).info.frames == FRAMES
    message = refused(video, "wall_s", wall_s=FRAMES - 1)
    assert f"took more than {FRAMES - 1} s to decode;" in message


def test_seconds_of_a_reading_do_not_count_what_is_done_with_the_frames(video, monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr("slowfast_hub.video.container.time.perf_counter", lambda: next(clock))
    reader = open_video(video, limits=Limits(wall_s=500))
    for _ in reader.stream(range(FRAMES)):
        for _ in range(1000):  # a thousand steps of ours for each frame
            next(clock)


def test_a_server_that_stalls_is_left_in_time(video, server):
    raw = video.read_bytes()
    url = server.serve("/video.mkv", file(raw, piece=100, pause_s=0.1))
    assert "took more than 0.3 s to open;" in refused(url, "wall_s", wall_s=0.3)


def test_streams(tmp_path):
    path = tmp_path / "three.mkv"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("ffv1", rate=FPS) for _ in range(3)]
        for stream in streams:
            stream.height, stream.width, stream.pix_fmt = 48, 64, "bgr0"
        for stream in streams:
            frame = av.VideoFrame.from_ndarray(grey(7), format="rgb24")
            container.mux([*stream.encode(frame), *stream.encode()])
    assert read(path, [0], Limits(streams=3)) == [7]
    assert "streams, more than 2;" in refused(path, "streams", streams=2)


def test_errors_of_limits_come_out_of_worker_processes_whole(video):
    with pytest.raises(VideoLimitError) as caught:
        open_video(video, limits=Limits(pixels=1))
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), again.limit, str(again)) == (VideoLimitError, "pixels", str(caught.value))


@pytest.mark.parametrize(
    "wrong",
    [
        {"bytes": 0},
        {"pixels": 1.5},
        {"frames": -1},
        {"streams": "64"},
        {"duration_s": 0},
        {"wall_s": float("nan")},
        {"protocols": "file"},
        {"protocols": ("FILE",)},
        {"playlists": 1},
    ],
)
def test_impossible_limits_are_refused(wrong):
    with pytest.raises(ValueError, match=f"Limits.{next(iter(wrong))}"):
        Limits(**wrong)


# Protocols


def test_protocols_that_were_not_allowed(video, server):
    url = server.serve("/video.mkv", file(video.read_bytes()))
    text = base64.b64encode(video.read_bytes()).decode()
    for address in (
        f"concat:{video}|{video}",
        f"concatf:{video}",
        f"subfile,,start,0,end,0,,:{video}",
        f"crypto:{video}",
        f"cache:{video}",
        f"async:{url}",
        f"hls+{url}",
        f"data:video/x-matroska;base64,{text}",
        "pipe:",
        "pipe:0",
        "fd:",
        "tcp://" + url.removeprefix("http://"),
        "httpproxy://" + url.removeprefix("http://"),
        "udp://127.0.0.1:9",
        "rtp://127.0.0.1:9",
        "rtsp://127.0.0.1:9/video",
        "rtmp://127.0.0.1:9/video",
        "ftp://127.0.0.1:9/video.mkv",
        "unix:/none",
        "lavfi:testsrc",
    ):
        with pytest.raises(VideoLimitError) as caught:
            open_video(address)
        name = re.match(r"[a-z+]+", address)[0]
        assert caught.value.limit == "protocols"
        assert f"needs the protocol '{name}'; allowed are ('file', 'http', 'https');" in str(caught.value)
    assert server.seen == []


def test_protocols_that_were_allowed(video, server):
    url = server.serve("/video.mkv", file(video.read_bytes()))
    text = base64.b64encode(video.read_bytes()).decode()
    assert read(f"data:video/x-matroska;base64,{text}", [9], Limits(protocols=("data",))) == [9]
    assert read(url, [9], Limits(protocols=("http",))) == [9]
    refused(url, "protocols", protocols=("file", "https"))
    refused(video, "protocols", protocols=("http", "https"))


def test_a_server_cannot_send_on_to_another_protocol(video, server):
    url = server.serve("/there.mkv", file(video.read_bytes()))
    assert read(server.serve("/here.mkv", status(302, Location=url)), [9]) == [9]
    for target in (f"file://{video}", str(video), "pipe:0", f"concat:{url}", f"subfile,,start,0,end,0,,:{video}"):
        server.seen.clear()
        with pytest.raises(VideoError):
            open_video(server.serve("/here.mkv", status(302, Location=target)))
        assert {seen.path for seen in server.seen} <= {"/here.mkv", str(video), f"/{target}"}, target


# Files that point to others


def hls(target: str) -> str:
    return f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:9\n#EXTINF:1.2,\n{target}\n#EXT-X-ENDLIST\n"


def dash(target: str) -> str:
    return (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'mediaPresentationDuration="PT1S" profiles="urn:mpeg:dash:profile:isoff-main:2011"><Period>'
        '<AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1">'
        f"<BaseURL>{target}</BaseURL></Representation></AdaptationSet></Period></MPD>"
    )


def sdp(target: str) -> str:
    return (
        "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=video 9 RTP/AVP 96\r\n"
        f"a=rtpmap:96 H264/90000\r\na=control:{target}\r\n"
    )


LISTS = {
    "m3u8": hls,
    "ffconcat": lambda target: f"ffconcat version 1.0\nfile '{target}'\n",
    "txt": lambda target: f"file '{target}'\n",
    "mpd": dash,
    "sdp": sdp,
    "pls": lambda target: f"[playlist]\nFile1={target}\n",
}


@pytest.fixture(scope="module")
def segment(tmp_path_factory) -> Path:
    """A video such as playlists list: what points to it would be answered, if it were followed."""
    return write_counting(tmp_path_factory.mktemp("segment") / "segment.ts", FRAMES, **X264)


@pytest.mark.parametrize("suffix", LISTS)
def test_lists_of_other_files_are_refused(suffix, segment, server):
    there = server.serve("/segment.ts", file(segment.read_bytes()))
    for target in ("segment.ts", str(segment), f"file://{segment}", there):
        text = LISTS[suffix](target).encode()
        named, disguised = segment.with_name(f"list.{suffix}"), segment.with_name("list.mp4")
        for path in (named, disguised):
            path.write_bytes(text)
        for same in (named, disguised, text, io.BytesIO(text)):
            assert "is a playlist, which leads to other files;" in refused(same, "playlists")
    assert server.seen == []


@pytest.mark.parametrize("suffix", LISTS)
def test_a_server_cannot_answer_with_a_list(suffix, segment, server):
    there = server.serve("/segment.ts", file(segment.read_bytes()))
    for target in ("segment.ts", there, f"file://{segment}"):
        for name in (f"/list.{suffix}", "/video.mp4"):
            url = server.serve(name, file(LISTS[suffix](target).encode(), Content_Type="application/x-mpegurl"))
            with pytest.raises(VideoError):
                open_video(url)
    assert "/segment.ts" not in {seen.path for seen in server.seen}


def test_lists_are_followed_where_that_is_allowed_and_no_further_than_the_protocols(segment, server):
    path = segment.with_name("list.m3u8")
    path.write_text(hls("segment.ts"))
    assert read(path, [9], Limits(playlists=True)) == [9]
    there = server.serve("/segment.ts", file(segment.read_bytes()))
    assert read(server.serve("/list.m3u8", file(hls("segment.ts").encode())), [9], Limits(playlists=True)) == [9]
    server.seen.clear()
    path.write_text(hls(there))
    for video in (path, hls(there).encode(), hls(f"file://{segment}").encode()):
        with pytest.raises(VideoError):
            open_video(video, limits=Limits(playlists=True))
    assert server.seen == []
    url = server.serve("/list.m3u8", file(hls(f"file://{segment}").encode()))
    with pytest.raises(VideoError):
        open_video(url, limits=Limits(playlists=True))


def test_patterns_of_image_names_are_names(tmp_path):
    for suffix in ("png", "jpg", "jp2", "tga", "mkv"):
        for number in range(3):
            (tmp_path / f"{number:03}.{suffix}").write_bytes(png_bytes(grey(number)))
        for pattern in (f"%03d.{suffix}", f"*.{suffix}", f"00?.{suffix}"):
            with pytest.raises(VideoError, match="there is no such file"):
                open_video(tmp_path / pattern)
    (tmp_path / "%03d.png").write_bytes(png_bytes(grey(7)))
    assert open_video(tmp_path / "%03d.png").info.frames == 1
    assert read(tmp_path / "%03d.png", [0]) == [7]
    (tmp_path / "%03d.tga").write_bytes(png_bytes(grey(7)))
    with pytest.raises(VideoError, match="cannot be read as a video"):
        open_video(tmp_path / "%03d.tga")


def test_a_quicktime_file_cannot_borrow_its_pictures(tmp_path):
    lender = write_counting(tmp_path / "lender.mov", FRAMES, **X264)
    borrower = tmp_path / "borrower.mov"
    borrower.write_bytes(borrowing(lender.read_bytes(), str(lender).encode()))
    options = {"enable_drefs": "1", "use_absolute_path": "1"}
    with av.open(str(borrower), options=options) as container:  # to show that the reference is a good one
        assert len(list(container.decode(video=0))) == FRAMES
    for video in (borrower, borrower.read_bytes(), io.BytesIO(borrower.read_bytes())):
        with pytest.raises(VideoError):
            read(video, [0])


def borrowing(movie: bytes, path: bytes) -> bytes:
    """The movie with its pictures blanked out and a reference to the file `path` that has them at the same places."""
    begin = movie.index(b"mdat") + 4
    size = int.from_bytes(movie[begin - 8 : begin - 4], "big") - 8
    movie = movie[:begin] + bytes(size) + movie[begin + size :]
    # A Macintosh alias: fixed fields that say nothing here, then (kind 2, length, an absolute path), then the end.
    even = path + bytes(len(path) % 2)
    alias = bytes(4 + 150) + b"\0\2" + len(even).to_bytes(2, "big") + even + b"\xff\xff\0\0"
    entry = (8 + len(alias)).to_bytes(4, "big") + b"alis" + alias
    at = movie.index(b"dref") + 12  # name, version, count: then the entry, of 12 bytes
    for box in (b"dref", b"dinf", b"minf", b"mdia", b"trak", b"moov"):
        name = movie.rindex(box, 0, at)
        grown = int.from_bytes(movie[name - 4 : name], "big") + len(entry) - 12
        movie = movie[: name - 4] + grown.to_bytes(4, "big") + movie[name:]
    return movie[:at] + entry + movie[at + 12 :]


def test_what_is_no_regular_file_is_not_opened_by_name(tmp_path):
    os.mkfifo(tmp_path / "pipe.mkv")  # to open it would wait for a writer
    with pytest.raises(VideoError, match="is no regular file; open it yourself"):
        open_video(tmp_path / "pipe.mkv")
