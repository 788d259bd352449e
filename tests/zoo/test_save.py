"""A file of weights is written whole or not at all."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from slowfast_hub.zoo.load import read_metadata, read_safetensors
from slowfast_hub.zoo.save import save_tensors


def test_tensors_of_any_layout_and_the_text_of_the_header_come_back(tmp_path):
    strided = torch.arange(24.0).reshape(1, 2, 3, 2, 2).to(memory_format=torch.channels_last_3d)
    path = save_tensors({"a": strided}, tmp_path / "made" / "w.safetensors", metadata={"b": "c"})
    assert torch.equal(read_safetensors(path)["a"], strided)
    assert read_metadata(path) == {"b": "c"}


def test_the_same_tensors_make_the_same_bytes(tmp_path):
    first, second = (
        save_tensors({"b": torch.zeros(2), "a": torch.ones(1)}, tmp_path / name, metadata={"slowfast_hub": "{}"})
        for name in ("first", "second")
    )
    assert first.read_bytes() == second.read_bytes()


def test_nothing_is_left_where_weights_cannot_be_written(tmp_path, monkeypatch):
    def full_disk(descriptor):
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="no space"):
        save_tensors({"a": torch.zeros(1)}, tmp_path / "w.safetensors", metadata={})
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_file_is_not_replaced(tmp_path):
    (tmp_path / "w.safetensors").mkdir()
    with pytest.raises(FileExistsError, match="is there and is no file"):
        save_tensors({"a": torch.zeros(1)}, tmp_path / "w.safetensors", metadata={})


def test_files_have_the_mode_of_every_other_file_of_this_user(tmp_path):
    (tmp_path / "plain").touch()
    path = save_tensors({"a": torch.zeros(1)}, tmp_path / "w.safetensors", metadata={})
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_threads_that_write_one_file_do_not_meet(tmp_path):
    def write(value: int) -> None:
        save_tensors({"a": torch.full((1000,), float(value))}, tmp_path / "w.safetensors", metadata={})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(40)))
    assert len(read_safetensors(tmp_path / "w.safetensors")["a"].unique()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]


KINDS = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8, torch.bool)


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=8),
        st.tuples(st.sampled_from(KINDS), st.lists(st.integers(0, 5), max_size=4)),
        min_size=1,
        max_size=12,
    ),
    st.text(max_size=80),
)
def test_the_library_reads_back_every_tensor_and_large_ones_are_aligned(kinds, text):
    tensors = {
        key: torch.randint(0, 2, shape).to(kind) for key, (kind, shape) in kinds.items() if key != "__metadata__"
    }
    with TemporaryDirectory() as folder:
        path = save_tensors(tensors, Path(folder) / "w.safetensors", metadata={"text": text})
        read = read_safetensors(path)
        assert read.keys() == tensors.keys()
        assert all(torch.equal(read[key], value) and read[key].dtype == value.dtype for key, value in tensors.items())
        assert read_metadata(path) == {"text": text}
        aligned = {key for key, value in tensors.items() if value.nbytes and value.nbytes % 64 == 0}
        assert all(read[key].data_ptr() % 64 == 0 for key in aligned)
