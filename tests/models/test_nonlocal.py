"""The non-local block: the identity at first, the formula of the paper afterwards."""

import pytest
import torch

from slowfast_hub.models.blocks import init_weights
from slowfast_hub.models.nonlocal_block import NonLocal
from slowfast_hub.zoo.registry import create_model

CLIPS = torch.randn(2, 4, 2, 4, 6, generator=torch.Generator().manual_seed(0))


def block(kind: str, pool: tuple[int, int, int]) -> NonLocal:
    torch.manual_seed(1)
    made = NonLocal(4, kind=kind, pool=pool).eval()
    torch.nn.init.uniform_(made.norm.running_mean)
    return made


@pytest.mark.parametrize("kind", ["dot_product", "softmax"])
def test_it_starts_as_the_identity(kind: str):
    made = NonLocal(4, kind=kind, pool=(1, 2, 2))
    init_weights(made, zero_init_last=False)
    torch.testing.assert_close(made(CLIPS), CLIPS)


@pytest.mark.parametrize("kind", ["dot_product", "softmax"])
@pytest.mark.parametrize("pool", [(1, 1, 1), (1, 2, 2), (2, 2, 2)], ids=str)
@torch.inference_mode()
def test_it_is_the_weighted_sum_over_all_pooled_positions(kind: str, pool: tuple[int, int, int]):
    made = block(kind, pool)
    keys = torch.nn.functional.max_pool3d(CLIPS, pool)
    theta, phi, g = made.theta(CLIPS), made.phi(keys), made.g(keys)
    expected = torch.zeros(2, 2, 2, 4, 6)
    positions = keys[0, 0].numel()
    assert positions == 48 // (pool[0] * pool[1] * pool[2])
    for at in [(0, 0, 0), (1, 3, 5), (0, 2, 4)]:
        weights = torch.einsum("bc,bcthw->bthw", theta[:, :, *at], phi).flatten(1)
        weights = (weights / 2**0.5).softmax(1) if kind == "softmax" else weights / positions
        expected[:, :, *at] = torch.einsum("bn,bcn->bc", weights, g.flatten(2))
    expected = CLIPS + made.norm(made.out(expected))
    for at in [(0, 0, 0), (1, 3, 5), (0, 2, 4)]:
        torch.testing.assert_close(made(CLIPS)[:, :, *at], expected[:, :, *at], rtol=1e-4, atol=1e-5)


def test_convolutions_have_biases_and_half_the_channels_inside():
    shapes = {
        name: tuple(value.shape) for name, value in NonLocal(4, kind="softmax", pool=(1, 2, 2)).named_parameters()
    }
    assert shapes["theta.weight"] == shapes["phi.weight"] == shapes["g.weight"] == (2, 4, 1, 1, 1)
    assert shapes["out.weight"] == (4, 2, 1, 1, 1)
    assert shapes["theta.bias"] == (2,)
    assert shapes["out.bias"] == shapes["norm.weight"] == (4,)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("slowfast_nl_r50_4x16", {"slow.res3": [1, 3], "slow.res4": [1, 3, 5]}),
        ("slowfast_nl_r101_16x8", {"slow.res4": [6, 13, 20]}),
        ("i3d_nl_r50_8x8", {"pathway.res3": [1, 3], "pathway.res4": [1, 3, 5]}),
    ],
)
def test_blocks_stand_behind_the_blocks_of_the_published_configs(row: str, expected: dict[str, list[int]]):
    with torch.device("meta"):
        model = create_model(row)
    found: dict[str, list[int]] = {}
    for name, module in model.named_modules():
        if isinstance(module, NonLocal):
            stage, place = name.rsplit(".", 1)
            found.setdefault(stage, []).append(int(place.removesuffix("_nonlocal")))
    assert found == expected
