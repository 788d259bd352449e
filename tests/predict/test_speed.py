"""What `prepare` does with precisions, with kernels that are wrong, and with torch.compile."""

import re
import shutil
import time
from pathlib import Path

import pytest
import torch
from made_networks import noise, tiny_network
from torch import Tensor
from torch.torch_version import TorchVersion

from slowfast_hub.models import VideoModel
from slowfast_hub.predict import speed
from slowfast_hub.predict.clips import batches_of
from slowfast_hub.predict.onednn import FusedConv, Target, has_bfloat16
from slowfast_hub.predict.predictor import Predictor
from slowfast_hub.predict.speed import best_batch_size, choose_dtype, difference, known_bad, prepare
from slowfast_hub.predict.views import plan_views
from slowfast_hub.transforms.eval import EvalTransform
from slowfast_hub.video.reader import open_video
from slowfast_hub.zoo.create import create_model

EXAMPLE = Path(__file__).parents[2] / "examples" / "clip.mp4"
CPU, CUDA, MPS = (torch.device(name) for name in ("cpu", "cuda", "mps"))
FLOAT32, BFLOAT16, FLOAT16 = torch.float32, torch.bfloat16, torch.float16
PRECISIONS = ("float32", "bfloat16") if has_bfloat16() else ("float32",)
needs_bfloat16 = pytest.mark.skipif(not has_bfloat16(), reason="this processor has no bfloat16")


def tiny(**changes: object) -> VideoModel:
    return tiny_network(zero_init_last=False, **changes).requires_grad_(False)


def clips(batch: int = 1) -> Tensor:
    return torch.randn(batch, 3, 8, 16, 16, generator=torch.Generator().manual_seed(1))


def dtypes(model: VideoModel) -> tuple[torch.dtype, torch.dtype]:
    """Of the stem and of the head."""
    return model.fast.stem.single.weight.dtype, model.head.fc.weight.dtype


def test_words_that_prepare_does_not_know():
    for word in ("half", "fp16", None, FLOAT16):
        for ask in (
            lambda word=word: prepare(tiny(), precision=word),
            lambda word=word: Predictor("?", precision=word),
        ):
            with pytest.raises(
                ValueError, match="precision must be one of 'float32', 'bfloat16', 'float16', 'auto'; got"
            ):
                ask()
    with pytest.raises(ValueError, match="compile must be True or False; got 'auto'"):
        prepare(tiny(), compile="auto")


@pytest.mark.parametrize(
    ("device", "able", "chosen"),
    [
        (CUDA, (7, 0), FLOAT16),
        (CUDA, (9, 0), FLOAT16),
        (CUDA, (6, 1), FLOAT32),
        (CPU, True, BFLOAT16),
        (CPU, False, FLOAT32),
        (MPS, True, FLOAT32),
    ],
)
def test_auto_is_what_the_device_is_made_for(monkeypatch, device: torch.device, able: object, chosen: torch.dtype):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: able)
    monkeypatch.setattr(speed, "has_bfloat16", lambda: able)
    assert choose_dtype("auto", device) == chosen
    assert choose_dtype("float32", device) == FLOAT32
    if device != CPU:
        assert [choose_dtype(name, device) for name in ("float16", "bfloat16")] == [FLOAT16, BFLOAT16]


def test_the_cpu_refuses_what_is_slow_there(monkeypatch):
    monkeypatch.setattr(speed, "has_bfloat16", lambda: False)
    for precision, says in (("float16", "float16 is for GPUs"), ("bfloat16", "this processor has no bfloat16")):
        with pytest.raises(ValueError, match=says):
            prepare(tiny(), precision=precision)


def test_a_predictor_runs_a_prepared_copy_and_one_clip_at_a_time_on_the_cpu():
    model = tiny()
    model.labels = tuple("abcde")
    predictor = Predictor(model, device="cpu")
    assert predictor.batch_size == 1
    assert Predictor(model, device="cpu", batch_size=4).batch_size == 4
    assert [best_batch_size(device) for device in (CPU, CUDA)] == [1, 8]
    for network, prepared in ((predictor.model, True), (model, False)):
        assert any(isinstance(module, FusedConv) for module in network.modules()) == prepared
    assert predictor(noise(40)).labels == tuple("abcde")


@pytest.mark.parametrize("apart", [0.101, 1.0, float("inf"), float("nan")])
def test_a_precision_that_differs_is_not_used(monkeypatch, apart: float):
    monkeypatch.setattr(speed, "has_bfloat16", lambda: True)
    monkeypatch.setattr(speed, "difference", lambda ready, exact: apart)
    says = f"bfloat16 differs from float32 by {apart:.3f} of the largest value, more than 0.1: a wrong kernel"
    with pytest.raises(RuntimeError, match=f"{says}.*; precision='float32' is safe"):
        prepare(tiny(), precision="bfloat16")
    with pytest.warns(UserWarning, match=f"{says}.*; using float32"):
        ready = prepare(tiny(), precision="auto")
    assert dtypes(ready) == (FLOAT32, FLOAT32)
    assert torch.equal(ready(clips()), prepare(tiny())(clips()))


@pytest.mark.parametrize("precision", ["auto", "bfloat16"])
def test_a_precision_that_agrees_is_used_except_in_the_head(monkeypatch, recwarn, precision: str):
    monkeypatch.setattr(speed, "has_bfloat16", lambda: True)
    monkeypatch.setattr(speed, "difference", lambda ready, exact: 0.1)
    assert dtypes(prepare(tiny(), precision=precision)) == (BFLOAT16, FLOAT32)
    assert not recwarn


@pytest.mark.parametrize("side", ["slow", "fast"])
@pytest.mark.parametrize("changes", [{"lateral": "none"}, {"fast_input": "flow", "lateral": "none"}], ids=str)
def test_one_map_that_differs_or_has_a_nan_is_enough(side: str, changes: dict):
    model = tiny(**changes)
    # Plain operators, as oneDNN's ReLU makes 0 of NaN.
    exact, other = (speed.built(model, Target(CPU, compiler=True)) for _ in range(2))
    assert difference(other, exact) == 0
    conv = other.get_submodule(side).res5[0].c.conv
    conv.weight.mul_(10)
    assert difference(other, exact) > speed.TOLERANCE
    conv.bias[0] = torch.nan
    assert not difference(other, exact) <= speed.TOLERANCE


@needs_bfloat16
@pytest.mark.parametrize(
    "changes", [{}, {"fast_input": "half"}, {"nonlocal_at": ((), (0,), (), ()), "nonlocal_kind": "softmax"}], ids=str
)
def test_bfloat16_is_close_and_its_logits_are_float32(changes: dict):
    model = tiny(**changes)
    ready, plain = prepare(model, precision="bfloat16"), model(clips(3))
    assert ready(clips(3)).dtype == FLOAT32
    assert [m.dtype for m in ready.forward_features(clips(3))] == [BFLOAT16] * 2
    assert 0 < (ready(clips(3)) - plain).abs().max() < 0.03 * plain.abs().max()  # measured 0.01


@needs_bfloat16
@pytest.mark.parametrize("classes", [(3,), (0, 3)])
def test_a_bfloat16_network_takes_a_new_classifier(classes: tuple[int, ...]):
    ready = prepare(tiny(), precision="bfloat16")
    for count in classes:
        ready.reset_classifier(count)
    assert ready(clips()).shape == (1, 3)


@torch.inference_mode()
def check_answers(files: list[Path]) -> None:
    """The embedded network, as it is and prepared, on one view of each video; its logits are up to 9."""
    plain = create_model("slowfast_r14_4x16_w16", pretrained=True)
    models = [plain, *(prepare(plain, precision=precision) for precision in PRECISIONS)]
    transform, logits = EvalTransform(plain.arch.clip), []
    for file in files:
        reader = open_video(file)
        plan = plan_views(reader.info, plain.arch, "centre")
        (clip,) = batches_of(reader, transform, plan.indices, plan.crops, size=1, device=CPU)
        logits.append(torch.cat([model(clip) for model in models]))
    exact, *others = torch.stack(logits, dim=1)
    for other, bound in zip(others, (3e-5, 0.3)):  # measured on 210 clips: 3e-6 and 0.05
        assert (other - exact).abs().max() < bound
        assert torch.equal(other.argmax(1), exact.argmax(1))


def test_the_example_is_answered_the_same():
    check_answers([EXAMPLE])


def test_210_real_clips_are_answered_the_same(shared: Path):
    files = sorted(file for file in (shared / "data" / "actions").rglob("*") if file.suffix in (".avi", ".mp4"))
    assert len(files) == 210
    check_answers(files)


def test_every_known_bad_kernel_has_its_issue():
    for bad in speed.KNOWN_BAD:
        assert re.fullmatch(r"https://github\.com/pytorch/pytorch/issues/\d+", bad.issue)
        assert bad.kernel.startswith(("CUDA: ", "CPU: "))
        assert isinstance(bad.here(), bool)


@pytest.mark.parametrize(
    ("torch_version", "cudnn", "issues"),
    [
        ("2.14.1", 0, []),
        ("2.8.0", 90799, []),
        ("2.8.0", 90800, [163539]),
        ("2.8.0", 91299, [163539]),
        ("2.8.0", 91300, []),
        ("2.9.0", 91002, [163539, 166643]),
        ("2.10.0", 91499, [166643]),
        ("2.10.0", 91500, []),
    ],
)
def test_known_bad_kernels_of_cudnn(monkeypatch, torch_version: str, cudnn: int, issues: list[int]):
    monkeypatch.setattr(speed, "cudnn", lambda: cudnn)
    monkeypatch.setattr(torch, "__version__", TorchVersion(torch_version))
    found = [line for line in known_bad() if line.startswith("CUDA")]
    assert [int(line.rstrip(")").rpartition("/")[2]) for line in found] == issues


@pytest.mark.parametrize(("cuda", "version", "number"), [(False, 91002, 0), (True, None, 0), (True, 91002, 91002)])
def test_the_version_of_cudnn_is_0_where_it_is_not_used(monkeypatch, cuda: bool, version: int | None, number: int):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: version)
    assert speed.cudnn() == number


@pytest.mark.parametrize(("slow", "kept"), [("eager", "compiled"), ("built", "not compiled")])
def test_the_faster_of_two_is_kept_and_stderr_says_which(capfd, slow: str, kept: str):
    pair = {"eager": prepare(tiny()), "built": prepare(tiny())}
    run = pair[slow].forward_features
    pair[slow].forward_features = lambda given, stage="res5": time.sleep(0.1) or run(given, stage)
    assert speed.faster(**pair) is pair["built" if kept == "compiled" else "eager"]
    says = rf"torch.compile took \d+ s: \d+\.\d ms a clip, \d+\.\d ms without; used: {kept}\n"
    assert re.fullmatch(says, capfd.readouterr().err)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a compiler of C++")
def test_a_compiled_network_answers_the_same_and_stderr_says_what_was_done(capfd, monkeypatch, tmp_path: Path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    model = tiny()
    chosen = prepare(model, compile=True)
    says = r"torch.compile took \d+ s: \d+\.\d ms a clip, \d+\.\d ms without; used: (not )?compiled\n"
    assert re.search(says, capfd.readouterr().err)
    for ready in (chosen, speed.compiled(model, Target(CPU))):
        torch.testing.assert_close(ready(clips()), model(clips()), rtol=0, atol=1e-4)
