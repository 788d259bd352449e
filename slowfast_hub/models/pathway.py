"""One pathway: stem and res2..res5 of one stream (paper, Table 1)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from slowfast_hub.models.blocks import Bottleneck, Stem
from slowfast_hub.models.lateral import Lateral
from slowfast_hub.models.nonlocal_block import NonLocal
from slowfast_hub.spec import STAGE_BLOCKS, Arch, KernelPattern

STAGES = ("res2", "res3", "res4", "res5")


class Pathway(nn.Module):
    """Stem and four stages; `stage(i, x)` runs one, a call runs them in turn.

    `fused[i]` channels come from a lateral connection in front of stage i and widen its input. `temporal_pool`: size of
    the max-pool over time in front of res3 (I3D and C2D: 2).
    """

    def __init__(
        self,
        arch: Arch,
        *,
        in_channels: int,
        width: int,
        depth: int,
        kernels: KernelPattern,
        nonlocal_at: tuple[tuple[int, ...], ...] = ((), (), (), ()),
        fused: Sequence[int] = (0, 0, 0, 0),
        stem_strides: tuple[int, int] = (1, 1),
        stem_padding: int = 1,
        temporal_pool: int = 1,
    ) -> None:
        super().__init__()
        self.stem = Stem(in_channels, width, kernels[0][0], time_strides=stem_strides, pool_padding=stem_padding)
        self.temporal_pool = nn.MaxPool3d((temporal_pool, 1, 1)) if temporal_pool > 1 else nn.Identity()
        self.grad_checkpointing = False
        channels = width
        for i, name in enumerate(STAGES):
            out_channels = 4 * width * 2**i
            limit = STAGE_BLOCKS[depth] if arch.temporal_blocks is None else arch.temporal_blocks
            dilated = arch.roi is not None and name == "res5"  # a detector's res5 keeps the size of res4's maps
            blocks: dict[str, nn.Module] = {}
            for block in range(STAGE_BLOCKS[depth][i]):
                first = block == 0
                blocks[f"{block}"] = Bottleneck(
                    channels + fused[i] if first else out_channels,
                    out_channels,
                    temporal_kernel=kernels[i + 1][block % len(kernels[i + 1])] if block < limit[i] else 1,
                    spatial_stride=2 if first and i > 0 and not dilated else 1,
                    dilation=arch.roi.dilation if arch.roi is not None and dilated else 1,
                )
                if block in nonlocal_at[i]:
                    # A name of its own, so that a block has the same name with and without non-local blocks.
                    blocks[f"{block}_nonlocal"] = NonLocal(out_channels, arch)
            self.add_module(name, nn.Sequential(OrderedDict(blocks)))
            channels = out_channels
        self.num_features = channels

    def forward(self, x: Tensor, last: int, laterals: Sequence[Lateral] = (), carried: Sequence[Tensor] = ()) -> Tensor:
        """Clips `(B, C, T, H, W)` to the map after the first `last` stages.

        carried[i]: what `laterals[i]` brings to the input of stage i.
        """
        return self.stages(self.stem(x), range(last), laterals, carried)

    def stages(self, x: Tensor, which: range, laterals: Sequence[Lateral], carried: Sequence[Tensor]) -> Tensor:
        """Run some of the stages on the map in front of the first, as `forward` does."""
        for i in which:
            x = self.stage(i, laterals[i].join(x, carried[i]) if carried else x)
        return x

    def stage(self, i: int, x: Tensor) -> Tensor:
        """Run res(i+2) on `(B, C, T, H, W)`; its blocks are recomputed in the backward pass when checkpointing."""
        blocks = self.get_submodule(STAGES[i])
        if i == 1:
            x = self.temporal_pool(x)
        if not (self.grad_checkpointing and self.training):
            return blocks(x)
        for block in blocks.children():
            x = checkpoint(block, x, use_reentrant=False, context_fn=partial(twice, block))
        return x


def twice(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """What surrounds a block when it runs, and when it runs again in the backward pass."""
    return nullcontext(), counted_once(block)


@contextmanager
def counted_once(block: nn.Module) -> Iterator[None]:
    """Running statistics of batch norm stay as the first run left them."""
    norms = [module for module in block.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta):
            norm.momentum = momentum
