"""Opening a foreign file never runs what it says, fills no memory, and names what it is instead of a checkpoint."""

from __future__ import annotations

import builtins
import contextlib
import gzip
import io
import os
import pickle
import struct
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from slowfast_hub.zoo.convert import container, convert_file, export_pytorchvideo
from slowfast_hub.zoo.convert.container import kind_of, read_checkpoint
from slowfast_hub.zoo.convert.refusal import ConvertError

WEIGHTS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b.bias": torch.ones(2)}


def python2(value: Any) -> bytes:
    """A pickle as Python 2 wrote it: protocol 2, bytes as `str` (latin1), numpy's old module names."""
    return PythonTwo().dumps(value)


class PythonTwo:
    """Writes the opcodes of Python 2's cPickle for dicts, strings, numbers and numpy arrays."""

    def dumps(self, value: Any) -> bytes:
        return b"\x80\x02" + self.item(value) + b"."

    def item(self, value: Any) -> bytes:
        if isinstance(value, dict):
            return b"}(" + b"".join(self.item(k) + self.item(v) for k, v in value.items()) + b"u"
        if isinstance(value, str | bytes):
            raw = value.encode() if isinstance(value, str) else value
            return (b"U" + bytes([len(raw)]) if len(raw) < 256 else b"T" + struct.pack("<i", len(raw))) + raw
        if isinstance(value, np.ndarray):
            return self.array(value)
        raise TypeError(value)

    def number(self, value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    def array(self, value: np.ndarray) -> bytes:
        made = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
        shape = b"(" + b"".join(map(self.number, value.shape)) + b"t"
        kind = (
            b"cnumpy\ndtype\n("
            + self.item(value.dtype.str[1:])
            + b"K\x00K\x01tR(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        )
        return made + b"(K\x01" + shape + kind + b"\x89" + self.item(value.tobytes()) + b"tb"


def saved(path: Path, value: Any, **how: Any) -> Path:
    torch.save(value, path, **how)
    return path


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("holder", [None, "model_state", "state_dict", "model"])
def test_torch_files_open_under_any_name_and_holder(tmp_path: Path, legacy: bool, holder: str | None):
    content = WEIGHTS if holder is None else {"epoch": 3, "cfg": "TRAIN: {}", holder: WEIGHTS}
    path = saved(tmp_path / "x.pkl", content, _use_new_zipfile_serialization=not legacy)
    assert kind_of(path) == ("torch legacy" if legacy else "torch zip")
    assert equal(read_checkpoint(path).tensors, WEIGHTS)


def test_python2_pickle_of_blobs_opens(tmp_path: Path):
    blobs = {
        "conv1_w": np.arange(6, dtype=np.float32).reshape(2, 3),
        "lr": np.float32([0.1]),
        "x" * 300: np.zeros(2, "f8"),
    }
    path = written(tmp_path / "x.pkl", python2({"blobs": blobs}))
    assert kind_of(path) == "pickle"
    read = read_checkpoint(path).tensors
    assert torch.equal(read["conv1_w"], WEIGHTS["a.weight"])
    assert read["x" * 300].dtype == torch.float64


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickles_saved_again_by_python3_open(tmp_path: Path, protocol: int):
    blobs = {"conv1_w": np.arange(6, dtype=np.float32).reshape(2, 3), "lr": np.float32(0.1)}
    path = written(tmp_path / "x.pkl", pickle.dumps({"blobs": blobs}, protocol=protocol))
    assert torch.equal(read_checkpoint(path).tensors["conv1_w"], WEIGHTS["a.weight"])


def test_gzip_and_tar_are_taken_off(tmp_path: Path):
    inner = saved(tmp_path / "x.pth", WEIGHTS)
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.add(inner, "../../etc/x.pth")  # the name is never used
    for name, content in (("x.gz", inner.read_bytes()), ("x.tgz", (tmp_path / "x.tar").read_bytes())):
        path = written(tmp_path / name, gzip.compress(content))
        assert equal(read_checkpoint(path).tensors, WEIGHTS)
    assert equal(read_checkpoint(tmp_path / "x.tar").tensors, WEIGHTS)
    assert not (tmp_path.parent / "etc").exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><title>404</title>", "a web page: the server answered with an error"),
        (b"\n  <HTML>", "a web page"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied', "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a Git LFS pointer"),
        (b"hello", "of no kind known here .it begins with b'hello'"),
        (b"\x1f\x8bgarbage", "gzip wrapper is damaged"),
        (b"PK\x03\x04garbage", "damaged or incomplete torch.save file"),
        (b"\x80\x02garbage", "damaged or incomplete pickle"),
        (b"\x80\x02}.", "no weights under model_state, state_dict, blobs"),
        (b"\x80\x02K\x01.", "holds a int; expected a dict of weights"),
    ],
    ids=lambda value: repr(value[:12]) if isinstance(value, bytes) else "",
)
def test_what_is_no_checkpoint_is_named(tmp_path: Path, content: bytes, says: str):
    with pytest.raises(ConvertError, match=says):
        read_checkpoint(written(tmp_path / "x.pkl", content))


class Runs:
    """A pickle that calls a function when it is opened."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


def attacks(mark: Path) -> dict[str, Any]:
    return {
        "os.system": Runs(os.system, f"touch {mark}"),
        "builtins.eval": Runs(builtins.eval, f"open({str(mark)!r}, 'w')"),
        "builtins.exec": Runs(builtins.exec, f"open({str(mark)!r}, 'w')"),
        "builtins.getattr": Runs(getattr, "", "join"),
        "builtins.open": Runs(open, str(mark), "w"),
        "object array": np.array([Runs(os.system, f"touch {mark}")], dtype=object),
        "numpy.load": Runs(np.load, str(mark)),
        "a bound method": Runs(mark.write_text, "x"),
    }


@pytest.mark.parametrize("name", attacks(Path("x")))
@pytest.mark.parametrize("door", ["pickle", "zip", "legacy", "gzip", "tar"])
@pytest.mark.parametrize("deep", [False, True], ids=["bare", "beside weights"])
def test_no_door_runs_what_a_file_says(tmp_path: Path, name: str, door: str, deep: bool):
    mark = tmp_path / "it ran"
    value = attacks(mark)[name]
    value = (
        {"model_state": {"a": torch.ones(1) if door in ("zip", "legacy") else np.ones(1, "f4")}, "x": value}
        if deep
        else value
    )
    path = tmp_path / "x.pkl"
    if door in ("zip", "legacy"):
        saved(path, value, _use_new_zipfile_serialization=door == "zip")
    else:
        content = pickle.dumps(value, protocol=2)
        if door == "tar":
            with tarfile.open(path, "w") as archive:
                info = tarfile.TarInfo("x")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        else:
            written(path, gzip.compress(content) if door == "gzip" else content)
    for opened in (convert_file, export_pytorchvideo):
        with pytest.raises(ConvertError):
            opened(path, tmp_path / "out")
    with pytest.raises(ConvertError, match=r"stays closed|no array|no weights|expected|damaged"):
        read_checkpoint(path)
    assert not mark.exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("extra", ["HistoryBuffer", "numpy scalar"])
def test_what_training_leaves_beside_the_weights_is_a_blank(
    tmp_path: Path, extra: str, monkeypatch: pytest.MonkeyPatch
):
    """MMEngine's checkpoints hold their history; its class is not here, and is not needed."""
    content: dict[str, Any] = {"state_dict": WEIGHTS}
    if extra == "numpy scalar":
        content["meta"] = {"lr": np.float64(0.1), "seeds": np.arange(3)}
        path = saved(tmp_path / "x.pth", content)
    else:
        module = type(os)("mmengine.logging.history_buffer")
        module.HistoryBuffer = type("HistoryBuffer", (), {"__module__": module.__name__})
        for name in ("mmengine", "mmengine.logging"):
            monkeypatch.setitem(sys.modules, name, type(os)(name))
        monkeypatch.setitem(sys.modules, module.__name__, module)
        history = module.HistoryBuffer()
        history.values = np.ones(2)
        path = saved(tmp_path / "x.pth", content | {"message_hub": {"log_scalars": history}})
        monkeypatch.undo()
    assert equal(read_checkpoint(path).tensors, WEIGHTS)


def test_zip_entries_that_point_outside_are_refused(tmp_path: Path):
    path = saved(tmp_path / "x.pth", WEIGHTS)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../../outside", b"x")
    with pytest.raises(ConvertError, match=r"'../../outside' points outside"):
        read_checkpoint(path)


def test_compressed_zip_is_refused_before_it_is_unpacked(tmp_path: Path):
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", bytes(10_000_000))
    assert path.stat().st_size < 100_000
    with pytest.raises(ConvertError, match=r"is compressed, as torch\.save never does"):
        read_checkpoint(path)


def test_gzip_bomb_stops_at_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(container, "MAX_BYTES", 1_000_000)
    path = written(tmp_path / "bomb.gz", gzip.compress(bytes(20_000_000)))
    with pytest.raises(ConvertError, match="more than the 1000000 a checkpoint may have"):
        read_checkpoint(path)


def test_gzip_in_gzip_ends(tmp_path: Path):
    content = b"x"
    for _ in range(6):
        content = gzip.compress(content)
    with pytest.raises(ConvertError, match="too many times"):
        read_checkpoint(written(tmp_path / "x", content))


def test_file_over_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(container, "MAX_BYTES", 1000)
    with pytest.raises(ConvertError, match="bytes unpacked, more than the 1000"):
        read_checkpoint(saved(tmp_path / "x.pth", {"a": torch.zeros(1000)}))


def test_tensor_that_claims_more_than_it_has_is_refused(tmp_path: Path):
    """An expanded view: 4 bytes in the file, 4 TB when it is written out."""
    path = saved(tmp_path / "x.pth", {"a": torch.zeros(1).expand(1_000_000, 1_000_000)})
    assert path.stat().st_size < 5000
    with pytest.raises(ConvertError, match="'a' claims 4000000000000 bytes and has 4"):
        read_checkpoint(path)


def test_array_that_claims_more_than_it_has_is_refused(tmp_path: Path):
    content = python2({"blobs": {"a": np.zeros(2, np.float32)}})
    liar = content.replace(PythonTwo().number(2), PythonTwo().number(2_000_000_000))
    assert liar != content
    with pytest.raises(ConvertError, match=r"array of shape .* from 8 bytes; expected 8000000000"):
        read_checkpoint(written(tmp_path / "x.pkl", liar))


def test_pickle_memo_that_would_take_all_memory_is_refused_before_it_runs(tmp_path: Path):
    content = b"\x80\x02}r" + struct.pack("<I", 2**32 - 1) + b"."
    with pytest.raises(ConvertError, match="memo of 4294967295 entries"):
        read_checkpoint(written(tmp_path / "x.pkl", content))


def nested(depth: int) -> tuple:
    """A value of `depth` instructions that is two to the power of them when it is hashed or written out."""
    value: tuple = ()
    for _ in range(depth):
        value = (value, value)
    return value


@pytest.mark.parametrize("door", ["zip", "legacy", "pickle"])
def test_pickle_that_would_never_end_is_refused_before_it_runs(tmp_path: Path, door: str):
    """Depth 40, made by hand, as pickling it by the module would hash it too."""
    twice = b"".join(b"h" + bytes([at]) + b"h" + bytes([at]) + b"\x86q" + bytes([at + 1]) for at in range(40))
    content = b"\x80\x02}(" + b")q\x00" + twice + b"K\x01u."
    path = tmp_path / "x.pth"
    if door == "pickle":
        written(path, content)
    elif door == "zip":
        with zipfile.ZipFile(saved(tmp_path / "w.pth", WEIGHTS)) as whole, zipfile.ZipFile(path, "w") as archive:
            for entry in whole.infolist():
                archive.writestr(entry.filename, content if entry.filename.endswith("data.pkl") else whole.read(entry))
    else:
        whole = saved(tmp_path / "w.pth", WEIGHTS, _use_new_zipfile_serialization=False).read_bytes()
        third = [at for at in range(len(whole)) if whole.startswith(b"\x80\x02", at)][3]
        written(path, whole[:third] + content)
    with pytest.raises(ConvertError, match="values hold one another without end"):
        read_checkpoint(path)


def test_type_of_an_array_is_not_written_out_when_it_is_no_text(tmp_path: Path):
    content = pickle.dumps(nested(12), protocol=2)[2:-1]
    hostile = b"\x80\x02cnumpy\ndtype\n(" + content + b"K\x00K\x01tR."
    with pytest.raises(ConvertError, match="an array of type tuple; expected numbers"):
        read_checkpoint(written(tmp_path / "x.pkl", hostile))


def test_what_a_pickle_may_call_it_cannot_change(tmp_path: Path):
    content = b"\x80\x02c_codecs\nencode\n}U\x0a__module__U\x02ossb."
    with pytest.raises(ConvertError, match="sets the state of something that is no array"):
        read_checkpoint(written(tmp_path / "x.pkl", content))


def test_zip_with_a_second_pickle_is_refused(tmp_path: Path):
    path = saved(tmp_path / "x.pth", WEIGHTS)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x/other.pkl", b"\x80\x02N.")
    with pytest.raises(ConvertError, match=r"more than one pickle, where torch\.save writes one"):
        read_checkpoint(path)


def test_instructions_are_counted_over_all_pickles_of_a_file(tmp_path: Path):
    empty = b"\x80\x02" + b"N0" * 70_000 + b"N."  # 140 003 instructions
    magic = saved(tmp_path / "w", WEIGHTS, _use_new_zipfile_serialization=False).read_bytes()[:15]
    with pytest.raises(ConvertError, match="pickle instructions"):
        read_checkpoint(written(tmp_path / "x.pth", magic + empty * 5))


def test_tar_with_several_files_or_a_name_without_end_is_refused(tmp_path: Path):
    with tarfile.open(tmp_path / "two.tar", "w") as archive:
        archive.add(saved(tmp_path / "x.pth", WEIGHTS), "a")
        archive.add(tmp_path / "x.pth", "b")
    with pytest.raises(ConvertError, match="with several files"):
        read_checkpoint(tmp_path / "two.tar")
    with tarfile.open(tmp_path / "long.tar", "w", format=tarfile.GNU_FORMAT) as archive:
        archive.add(tmp_path / "x.pth", "n" * 5_000_000)  # skipped, never read
    assert equal(read_checkpoint(tmp_path / "long.tar").tensors, WEIGHTS)


def test_what_is_no_weight_is_told(tmp_path: Path):
    path = saved(tmp_path / "x.pth", {"epoch": 5, "model_state": {**WEIGHTS, "note": "text"}, "optimizer_state": {}})
    assert read_checkpoint(path).others == (
        ("note", "no weight: str"),
        ("epoch", "no weight: int"),
        ("optimizer_state", "no weight: dict"),
    )


@pytest.mark.parametrize("kind", ["sparse", "quantized", "none"])
def test_tensors_that_are_not_plain_are_refused(tmp_path: Path, kind: str):
    if kind == "sparse":
        value: Any = torch.eye(3).to_sparse()
    elif kind == "quantized":
        value = torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.quint8)
    else:
        value = None
    with pytest.raises(ConvertError):
        read_checkpoint(saved(tmp_path / "x.pth", {"model_state": {"a": value}}))


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_are_convert_errors_or_open(tmp_path: Path, data: st.DataObject):
    """Bit flips and cuts of every kind of file: no other exception leaves."""
    whole = {
        "zip": lambda: saved(tmp_path / "a", {"model_state": WEIGHTS}).read_bytes(),
        "legacy": lambda: saved(tmp_path / "a", WEIGHTS, _use_new_zipfile_serialization=False).read_bytes(),
        "python2": lambda: python2({"blobs": {"a": np.ones((2, 3), np.float32)}}),
        "python3": lambda: pickle.dumps({"blobs": {"a": np.ones((2, 3), np.float32)}}, protocol=4),
    }[data.draw(st.sampled_from(["zip", "legacy", "python2", "python3"]))]()
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(0, len(content)))
    content = content[:cut] if data.draw(st.booleans()) else content
    path = written(tmp_path / "damaged", bytes(content))
    with contextlib.suppress(ConvertError):  # any other exception fails the test
        assert all(isinstance(value, Tensor) for value in read_checkpoint(path).tensors.values())
