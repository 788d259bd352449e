"""The non-local block: the identity at first, the formula of the paper afterwards."""

from functools import partial

import pytest
import torch

from slowfast_hub.models.blocks import init_weights
from slowfast_hub.models.nonlocal_block import NonLocal
from slowfast_hub.spec import NONLOCAL_KINDS, ResNet3DArch
from slowfast_hub.zoo.create import create_model

CLIPS = torch.randn(2, 4, 2, 4, 6, generator=torch.Generator().manual_seed(0))


def block(kind: str, pool: tuple[int, int, int] = (1, 2, 2), **fields: object) -> NonLocal:
    torch.manual_seed(1)
    arch = ResNet3DArch(nonlocal_at=((), (0,), (), ()), nonlocal_kind=kind, nonlocal_pool=pool, **fields)
    made = NonLocal(4, arch).eval()
    torch.nn.init.uniform_(made.norm.running_mean)
    return made


def weighted(kind: str, affinity: torch.Tensor, inner: int) -> torch.Tensor:
    """The weights of all positions, (B, N), as the formulas have them."""
    if kind == "dot_product":
        return affinity / affinity.shape[1]
    return (affinity / inner**0.5 if kind == "softmax" else affinity).softmax(1)


@pytest.mark.parametrize("kind", NONLOCAL_KINDS)
def test_it_starts_as_the_identity(kind: str):
    made = block(kind).train()
    init_weights(made, zero_init_last=False)
    torch.testing.assert_close(made(CLIPS), CLIPS)


@pytest.mark.parametrize("kind", NONLOCAL_KINDS)
@pytest.mark.parametrize("pool", [(1, 1, 1), (1, 2, 2), (2, 2, 2)], ids=str)
@pytest.mark.parametrize("at", ["before", "after"])
@torch.inference_mode()
def test_it_is_the_weighted_sum_over_all_pooled_positions(kind: str, pool: tuple[int, int, int], at: str):
    made = block(kind, pool, nonlocal_pool_at=at)
    pooled = partial(torch.nn.functional.max_pool3d, kernel_size=pool)
    if at == "before":
        phi, g = made.phi(pooled(CLIPS)), made.g(pooled(CLIPS))
    else:
        phi, g = pooled(made.phi(CLIPS)), pooled(made.g(CLIPS))
    theta = made.theta(CLIPS)
    expected = torch.zeros(2, 2, 2, 4, 6)
    positions = g[0, 0].numel()
    assert positions == 48 // (pool[0] * pool[1] * pool[2])
    for at in [(0, 0, 0), (1, 3, 5), (0, 2, 4)]:
        weights = weighted(kind, torch.einsum("bc,bcthw->bthw", theta[:, :, *at], phi).flatten(1), inner=2)
        expected[:, :, *at] = torch.einsum("bn,bcn->bc", weights, g.flatten(2))
    expected = CLIPS + made.norm(made.out(expected))
    for at in [(0, 0, 0), (1, 3, 5), (0, 2, 4)]:
        torch.testing.assert_close(made(CLIPS)[:, :, *at], expected[:, :, *at], rtol=1e-4, atol=1e-5)


def test_convolutions_have_biases_and_half_the_channels_inside():
    shapes = {name: tuple(value.shape) for name, value in block("softmax").named_parameters()}
    assert shapes["theta.weight"] == shapes["phi.weight"] == shapes["g.weight"] == (2, 4, 1, 1, 1)
    assert shapes["out.weight"] == (4, 2, 1, 1, 1)
    assert shapes["theta.bias"] == (2,)
    assert shapes["out.bias"] == shapes["norm.weight"] == (4,)
    assert "out.bias" not in dict(block("softmax", nonlocal_out_bias=False).named_parameters())


def test_gaussian_compares_the_maps_themselves():
    names = {name.split(".")[0] for name, _ in block("gaussian").named_parameters()}
    assert names == {"g", "out", "norm"}


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
