"""Opening files that nobody vouches for: within `Limits`, and without following where they point.

FFmpeg opens a hundred formats, some of which are lists of other files or of addresses, and its protocols reach devices
and networks. Here a file is opened as itself alone: by the protocols that the limits name, as one of the formats that
hold their pictures in themselves.
"""

from __future__ import annotations

import io
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, NoReturn

import av
import torch.utils.data
from av import Packet, VideoStream
from av.container import InputContainer
from av.stream import Disposition

from slowfast_hub.spec import Limits, VideoError, VideoLimitError

Encoded = str | Path | bytes | BinaryIO

IMAGE_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}
STALLED_S = 60.0  # a server that sends nothing for so long has failed
NO_LIMIT = 2**31 - 1  # the largest number that FFmpeg takes
LONGEST_NAME = 500  # of a video in messages; an address may hold a whole file
ADVICE = "re-encode it or pass another file"

# FFmpeg's MPEG-4 decoder gives other pixels for interlaced B-pictures when frames are shared out among threads.
SINGLE_THREADED = ("mpeg4",)

# Demuxers of FFmpeg whose files hold their pictures in themselves.
CONTAINERS = (
    "3g2,3gp,apng,asf,av1,avi,avif,cavsvideo,dirac,dnxhd,dv,f4v,flv,gif,gxf,h261,h263,h264,hevc,ivf,jpegxl_anim,kux,m4a,m4v,"
    "matroska,mj2,mjpeg,mjpeg_2000,mov,mp4,mpeg,mpegts,mpegvideo,mxf,nut,nuv,obu,ogg,rm,smjpeg,swf,vc1,vc1test,vvc,webm,"
    "webp_anim,wtv,yuv4mpegpipe,bmp_pipe,gif_pipe,j2k_pipe,jpeg_pipe,jpegls_pipe,jpegxl_pipe,pam_pipe,pbm_pipe,pgm_pipe,"
    "png_pipe,ppm_pipe,tiff_pipe,webp_pipe"
)
# ... and those that lead elsewhere, opened only where `Limits.playlists` says so.
PLAYLISTS = "concat,dash,hls,rtsp,rtp,sdp"
# What a playlist looks like, for the error alone: FFmpeg has refused it already.
PLAYLIST_MARKS = (b"#EXTM3U", b"ffconcat", b"[playlist]", b"<MPD", b"v=0", b"file ")
# Protocols that others run on.
BENEATH = {
    "http": ("tcp", "httpproxy"),
    "https": ("tls", "tcp", "httpproxy"),
    "rtsp": ("tcp", "udp", "rtp"),
    "rtsps": ("tls", "tcp", "udp", "rtp", "srtp"),
    "rtmp": ("tcp",),
    "rtmps": ("tls", "tcp"),
}


class Meter:
    """What one reading of a video has used of its limits. `with meter:` counts the time that passes inside."""

    def __init__(self, source: str, limits: Limits) -> None:
        self.source = source
        self.limits = limits
        self.frames = 0
        self._seconds = 0.0
        self._begin: float | None = None

    @property
    def seconds(self) -> float:
        """Spent so far."""
        return self._seconds if self._begin is None else self._seconds + time.perf_counter() - self._begin

    def __enter__(self) -> None:
        self._begin = time.perf_counter()

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self._seconds, self._begin = self.seconds, None
        if error is None:
            self.check()

    def check(self) -> None:
        """Whether the time is up; for long work inside, too."""
        if self.seconds > self.limits.wall_s:
            self.exceeded("wall_s", f"took more than {self.limits.wall_s:g} s to decode")

    def decoded(self, frames: int) -> None:
        """Count decoded frames."""
        self.frames += frames
        if self.frames > self.limits.frames:
            self.exceeded("frames", f"more than {self.limits.frames} frames had to be decoded")

    def exceeded(self, limit: str, what: str) -> NoReturn:
        raise VideoLimitError(self.source, limit, what)


@contextmanager
def opened(video: Encoded, limits: Limits) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container and its best video stream, closed at the end; VideoError if there is none."""
    source = source_name(video)
    with open_container(video, limits) as container:
        if len(container.streams) > limits.streams:
            raise VideoLimitError(
                source, "streams", f"has {len(container.streams)} streams, more than {limits.streams}"
            )
        check_size(source, container.size, limits)  # of an address: known only now
        stream = container.streams.best("video")
        # The cover of a song is a stream of pictures too.
        if not isinstance(stream, VideoStream) or Disposition.attached_pic in stream.disposition:
            raise VideoError(source, "has no video stream")
        if stream.codec_context is None:
            raise VideoError(source, "is in a codec that FFmpeg does not know")
        check_picture(source, stream.codec_context.width, stream.codec_context.height, limits)
        stream.codec_context.options = {"max_pixels": str(limits.pixels)}  # a stream may change its size later
        alone = torch.utils.data.get_worker_info() is None  # else the other workers have the other cores
        if alone and stream.codec_context.name not in SINGLE_THREADED:
            stream.thread_type = "AUTO"
        else:
            stream.codec_context.thread_count = 1
        try:
            yield container, stream
        except av.FFmpegError:
            if not stream.codec_context.width:
                # What most decoders leave of a size that they refuse; FFmpeg knows it where nothing is refused.
                with opened(video, replace(limits, pixels=NO_LIMIT)) as (_, whole):
                    check_picture(source, whole.codec_context.width, whole.codec_context.height, limits)
            raise


def open_container(video: Encoded, limits: Limits) -> InputContainer:
    """FFmpeg's container of a file, an address, bytes or a file object; VideoError within the rules above."""
    source = source_name(video)
    protocols: tuple[str, ...] = ("data",)  # what FFmpeg may open by itself: nothing that leads anywhere
    if isinstance(video, str | Path):
        video, protocols = address(video, limits)
    elif isinstance(video, bytes):
        check_size(source, len(video), limits)
        video = io.BytesIO(video)
    else:
        check_size(source, video.seek(0, os.SEEK_END), limits)
        video.seek(0)
    options = {
        "protocol_whitelist": ",".join(protocols),
        "format_whitelist": f"{CONTAINERS},{PLAYLISTS}" if limits.playlists else CONTAINERS,
        "max_streams": str(limits.streams + 1),
        "max_pixels": str(limits.pixels),  # of what FFmpeg itself decodes to know the streams
    }
    timeout, begin = min(STALLED_S, limits.wall_s), time.perf_counter()
    try:
        # Titles and the like in old files need not be UTF-8.
        return av.open(video, mode="r", options=options, metadata_errors="replace", timeout=timeout)
    except MemoryError as error:  # FFmpeg's answer to one stream too many
        more = f"has more than {limits.streams} streams, or headers that ask for more memory than there is"
        raise VideoLimitError(source, "streams", more) from error
    except av.FFmpegError as error:
        if not limits.playlists and looks_like_playlist(video, error):
            raise VideoLimitError(source, "playlists", "is a playlist, which leads to other files") from error
        if time.perf_counter() - begin > limits.wall_s:
            raise VideoLimitError(source, "wall_s", f"took more than {limits.wall_s:g} s to open") from error
        raise VideoError(source, f"cannot be read as a video: {reason(error)}") from error
    except OSError as error:  # of a file object
        raise VideoError(source, f"cannot be read: {error}") from error


def packets_of(container: InputContainer, stream: VideoStream, meter: Meter | None) -> Iterator[Packet]:
    """The packets of a stream, the empty one last that makes a decoder give all it has.

    Those of the other streams count too, for the bytes and the time of `meter`: a server can send sound for ever.
    """
    size = 0
    try:
        for packet in container.demux():
            if meter is not None:
                size += packet.size
                if size > meter.limits.bytes:  # a server need not say how long it goes on
                    meter.exceeded("bytes", f"has more than {meter.limits.bytes} bytes")
                meter.check()
            if packet.stream is stream:
                yield packet
    except IndexError:
        # PyAV 18 also ends streams that appeared on the way, and does not know them; ours came before those.
        return


def address(video: str | Path, limits: Limits) -> tuple[str | io.BytesIO, tuple[str, ...]]:
    """What FFmpeg opens for a path or an address, and the protocols it may use then."""
    source = source_name(video)
    path = str(video).removeprefix("file:")
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # ValueError: a NUL in the name
        status = None
    protocol = re.match(r"([A-Za-z0-9+.-]{2,})[:,]", str(video)) if status is None and isinstance(video, str) else None
    name = protocol[1].lower() if protocol else "file"
    if name not in limits.protocols:
        raise VideoLimitError(source, "protocols", f"needs the protocol {name!r}; allowed are {limits.protocols}")
    if name != "file":
        reachable = [name, *(other for other in ("http", "https") if other in limits.protocols)]  # by redirection
        return str(video), tuple(dict.fromkeys(each for over in reachable for each in (over, *BENEATH.get(over, ()))))
    if status is None:
        raise VideoError(source, "there is no such file")
    if not stat.S_ISREG(status.st_mode):
        raise VideoError(source, "is no regular file; open it yourself and pass the file object")
    if not os.access(path, os.R_OK, effective_ids=os.access in os.supports_effective_ids):
        raise VideoError(source, "may not be read: permission denied")
    check_size(source, status.st_size, limits)
    if Path(path).suffix.lower() in IMAGE_SUFFIXES:
        # As bytes, because FFmpeg takes a "%" in an image's name for the pattern of a sequence.
        return io.BytesIO(Path(path).read_bytes()), ("data",)
    # Without "file:" FFmpeg would take the name "12:30.mp4" for a protocol.
    return f"file:{path}", ("file",)


def rewindable(video: Encoded, limits: Limits) -> Encoded:
    """A video that can be read twice: a pipe as its bytes, at most one more than the limit."""
    if isinstance(video, str | Path | bytes) or video.seekable():
        return video
    held = bytearray()  # in pieces, as read(n) takes n bytes of memory first
    while piece := video.read(min(1 << 20, limits.bytes + 1 - len(held))):
        held += piece
    return bytes(held)


def check_size(source: str, size: int, limits: Limits) -> None:
    if size > limits.bytes:
        raise VideoLimitError(source, "bytes", f"has {size} bytes, more than {limits.bytes}")


def check_picture(source: str, width: int, height: int, limits: Limits) -> None:
    if width * height > limits.pixels:
        raise VideoLimitError(source, "pixels", f"has pictures of {width} x {height} px, more than {limits.pixels} px")


def looks_like_playlist(video: str | io.BytesIO | BinaryIO, error: av.FFmpegError) -> bool:
    """Whether a file that FFmpeg would not open is a list of others. Of an address only the error is known."""
    if isinstance(video, str):
        if not video.startswith("file:"):
            return isinstance(error, av.ArgumentError)
        with open(video.removeprefix("file:"), "rb") as file:
            head = file.read(64)
    else:
        video.seek(0)
        head = video.read(64)
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(PLAYLIST_MARKS) or b"<MPD" in head


def source_name(video: Encoded) -> str:
    if isinstance(video, str | Path):
        return str(video) if len(str(video)) <= LONGEST_NAME else f"{str(video)[:LONGEST_NAME]}..."
    return "bytes" if isinstance(video, bytes) else str(getattr(video, "name", "file object"))


def reason(error: av.FFmpegError) -> str:
    return f"{type(error).__name__} ({error.strerror})"
