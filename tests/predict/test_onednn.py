"""One operator for convolution, bias, ReLU and sum, and the plain ones that stand in for it."""

import platform
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from threading import current_thread, main_thread

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_networks import tiny_network
from torch import Tensor, nn

from slowfast_hub.predict.onednn import SIGNATURES, X86, FusedConv, Target, is_available
from slowfast_hub.predict.speed import prepare
from slowfast_hub.predict.winograd import WinogradConv

CPU = Target(torch.device("cpu"))
on_x86 = pytest.mark.skipif(not is_available(), reason="the operators of this torch or processor are not known here")
both = pytest.mark.parametrize("fused", [pytest.param(True, marks=on_x86), False], ids=["fused", "plain"])


def drawn(*shape: int, seed: int = 0) -> Tensor:
    """Noise, channels last."""
    layout = {4: torch.channels_last, 5: torch.channels_last_3d}.get(len(shape), torch.contiguous_format)
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).contiguous(memory_format=layout)


def made(weight: Tensor, bias: Tensor | None, *, fused: bool = True, relu: bool = True, **how) -> FusedConv:
    geometry = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1)} | how
    return FusedConv(weight, bias, relu=relu, target=Target(CPU.device, compiler=not fused), **geometry)


@st.composite
def convolutions(draw) -> dict:
    """Sizes of one of the convolutions that these networks have; a sum comes behind 1x1 only."""
    k, step, d = draw(st.sampled_from([3, 5, 7])), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    forms = (
        {"kernel": (1, 1), "summed": draw(st.booleans())},
        {"kernel": (1, 1), "stride": (step, step)},
        {"kernel": (k, 1), "stride": (4 * step - 3, 1), "padding": (k // 2, 0)},
        {"kernel": (3, 3), "stride": (step, step), "padding": (d, d), "dilation": (d, d)},
        {"kernel": (k, 7, 7), "stride": (step, 2, 2), "padding": (k // 2, 3, 3), "dilation": (1, 1, 1)},
    )
    form = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "summed": False} | draw(st.sampled_from(forms))
    size = [draw(st.integers(1, 9)) for _ in form["kernel"]]
    return form | {
        "images": (draw(st.integers(1, 3)), draw(st.integers(1, 17)), *size),
        "out": draw(st.integers(1, 17)),
    }


@both
@settings(deadline=None)
@given(how=convolutions(), relu=st.booleans(), biased=st.booleans())
def test_every_form_is_the_convolution_in_double_precision(fused: bool, how: dict, relu: bool, biased: bool):
    geometry = {name: how[name] for name in ("stride", "padding", "dilation")}
    images, weight = drawn(*how["images"]), drawn(how["out"], how["images"][1], *how["kernel"], seed=1)
    weight = weight / weight[0].numel() ** 0.5  # the results are about 1
    bias = drawn(how["out"], seed=2) if biased else None
    convolution = torch.conv2d if images.ndim == 4 else torch.conv3d
    expected = convolution(images.double(), weight.double(), bias if bias is None else bias.double(), **geometry)
    onto = drawn(*expected.shape, seed=3) if how["summed"] else None
    expected = expected if onto is None else expected + onto
    conv = made(weight, bias, fused=fused, relu=relu, **geometry)
    assert conv.fused == fused
    expected = expected.relu() if relu else expected
    torch.testing.assert_close(conv(images, onto).double(), expected, rtol=1e-5, atol=1e-5)


@both
@pytest.mark.parametrize(("relu", "sums"), [(True, [0, 0, 0, 6]), (False, [-4, 0, -1, 6])])
def test_twice_x_plus_1_and_what_lies_there_is_written_there(fused: bool, relu: bool, sums: list[int]):
    conv = made(torch.full((1, 1, 1, 1), 2.0), torch.ones(1), fused=fused, relu=relu)
    images, onto = torch.tensor([-3.0, -1, 0, 2]).view(1, 1, 1, 4), torch.tensor([1.0, 1, -2, 1]).view(1, 1, 1, 4)
    out = conv(images, onto)
    assert out.flatten().tolist() == onto.flatten().tolist() == sums
    assert out.data_ptr() == onto.data_ptr()
    assert images.flatten().tolist() == [-3, -1, 0, 2]


@on_x86
def test_weights_are_packed_again_when_the_shape_changes_and_only_then():
    conv, packed = made(drawn(8, 8, 3, 3), None, padding=(1, 1)), []
    for shape in ((1, 8, 9, 9), (1, 8, 9, 9), (2, 8, 5, 7), (1, 8, 9, 9)):
        torch.testing.assert_close(conv(drawn(*shape)), conv.plain(drawn(*shape), None), rtol=1e-5, atol=1e-5)
        packed.append(conv.packed(torch.Size(shape)))
    assert [a is b for a, b in pairwise(packed)] == [True, False, False]


@pytest.mark.parametrize("kind", [FusedConv, WinogradConv])
def test_two_threads_may_share_a_layer(kind: type[nn.Module]):
    images, answers = (drawn(1, 8, 5, 6), drawn(2, 8, 9, 4)), []

    class Layer(kind):
        def __setattr__(self, name: str, value: object) -> None:
            """Whenever the first thread has noted something of a shape, the second has a turn."""
            super().__setattr__(name, value)
            if name in ("_packed", "_maps") and value and current_thread() is main_thread():
                answers.append(second.submit(self, images[1]).result())

    how = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "relu": True} if kind is FusedConv else {}
    layer = Layer(drawn(8, 8, 3, 3), drawn(8), target=CPU, **how)
    with ThreadPoolExecutor(1) as second:
        answers[:0] = [layer(images[0])]
    assert len(answers) == 2 or not is_available()
    for out, x in zip(answers, images):
        torch.testing.assert_close(out, torch.conv2d(x, drawn(8, 8, 3, 3), drawn(8), padding=1).relu())


@pytest.mark.skipif(platform.machine() not in X86 or not torch.__version__.startswith("2.14"), reason="not seen here")
def test_the_operators_are_those_of_torch_2_14_on_x86():
    assert CPU.fused
    assert not Target(CPU.device, compiler=True).fused
    assert not Target(torch.device("cuda")).fused


@pytest.fixture(params=[*SIGNATURES, "missing", "machine"])
def elsewhere(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A torch with another operator, or without one, or another processor."""
    if request.param == "machine":
        monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    elif request.param == "missing":
        monkeypatch.setitem(SIGNATURES, "_no_such_operator.default", "mkldnn::_no_such_operator(Tensor X) -> Tensor Y")
    else:
        monkeypatch.setitem(SIGNATURES, request.param, SIGNATURES[request.param].replace("groups", "parts"))
    is_available.cache_clear()
    yield
    monkeypatch.undo()
    is_available.cache_clear()


def test_plain_operators_answer_the_same_where_an_operator_is_not_as_known(elsewhere: None):
    assert not is_available()
    model = tiny_network(zero_init_last=False)
    ready = prepare(model)
    torch.testing.assert_close(ready(drawn(2, 3, 8, 16, 16)), model(drawn(2, 3, 8, 16, 16)), rtol=0, atol=1e-4)
    convolutions = [module for module in ready.modules() if isinstance(module, FusedConv)]
    assert len(convolutions) > 20
    assert not any(conv.fused or conv._packed for conv in convolutions)
