"""SlowFast networks (Feichtenhofer, Fan, Malik, He, ICCV 2019)."""

from __future__ import annotations

from math import ceil
from typing import cast

from torch import Tensor, nn

from slowfast_hub.models.blocks import init_weights
from slowfast_hub.models.classifier import Classifier, Clips, check_clips, stages_until
from slowfast_hub.models.fast_input import FAST_CHANNELS, FAST_INPUTS, slow_indices
from slowfast_hub.models.lateral import LATERALS, Lateral
from slowfast_hub.models.pathway import Pathway
from slowfast_hub.spec import SlowFastArch


class SlowFast(Classifier):
    """Two pathways, laterals after stem and res2..res4, one head.

    In: clips `(B, 3, T, H, W)`, normalised, T a multiple of alpha; the Slow frames are cut here. `[slow, fast]` with
    `(B, 3, T / alpha, H, W)` and `(B, 3, T, H, W)` is accepted too, and is the only way for `fast_input="flow"`.
    Out: logits `(B, num_classes)`; of a detector, called with `rois` too, `(N, num_classes)` (`RoIHead`).
    """

    arch: SlowFastArch

    def __init__(self, arch: SlowFastArch) -> None:
        super().__init__()
        # Upwards: 64 / 6 -> 11 and 64 / 12 -> 6 channels give the multiply-adds of Table 5b within 1 %.
        fast_width = ceil(arch.width / arch.beta_inv)
        fast_channels = FAST_CHANNELS.get(arch.fast_input, arch.in_chans)
        self.fast = Pathway(
            arch,
            in_channels=fast_channels,
            width=fast_width,
            depth=arch.fast_depth or arch.depth,
            kernels=arch.fast_temporal_kernels,
        )
        fused_widths = [fast_width, *(4 * fast_width * 2**i for i in range(3))]
        laterals = [LATERALS[arch.lateral](width, arch) for width in fused_widths]
        self.slow = Pathway(
            arch,
            in_channels=arch.in_chans,
            width=arch.width,
            depth=arch.depth,
            kernels=arch.temporal_kernels,
            nonlocal_at=arch.nonlocal_at,
            fused=[lateral.extra for lateral in laterals],
        )
        self.laterals = nn.ModuleList(laterals)
        self.finish(arch, self.slow.num_features + self.fast.num_features)
        init_weights(self, zero_init_last=arch.zero_init_last)

    def split(self, clips: Clips) -> tuple[Tensor, Tensor]:
        """Clips to `slow (B, C, T / alpha, H, W)` and `fast (B, C', T, H', W')`."""
        if not isinstance(clips, list | tuple):
            if self.arch.fast_input == "flow":
                raise ValueError("fast_input='flow' takes [slow_rgb, fast_flow] with fast_flow (B, 2, T, H, W)")
            check_clips("clips", clips, self.arch.in_chans)
            frames = clips.shape[2]
            if frames % self.arch.alpha:
                raise ValueError(f"a clip needs a multiple of alpha = {self.arch.alpha} frames; got {frames}")
            indices = slow_indices(frames, alpha=self.arch.alpha, rule=self.arch.slow_rule).to(clips.device)
            return clips.index_select(2, indices), FAST_INPUTS[self.arch.fast_input](clips)
        if len(clips) != 2:
            raise ValueError(f"a list must be [slow, fast]; got {len(clips)} tensors")
        slow, fast = clips
        check_clips("slow", slow, self.arch.in_chans)
        check_clips("fast", fast, FAST_CHANNELS["flow"] if self.arch.fast_input == "flow" else self.arch.in_chans)
        if slow.shape[2] * self.arch.alpha != fast.shape[2]:
            raise ValueError(
                f"fast must have alpha = {self.arch.alpha} frames per slow frame; "
                f"got {slow.shape[2]} slow and {fast.shape[2]} fast ones"
            )
        if slow.shape[0] != fast.shape[0] or slow.shape[3:] != fast.shape[3:]:
            raise ValueError(
                f"slow and fast must agree in batch, height and width; got {tuple(slow.shape)} and {tuple(fast.shape)}"
            )
        return slow, FAST_INPUTS[self.arch.fast_input](fast)

    def forward_features(self, clips: Clips, stage: str = "res5") -> tuple[Tensor, Tensor]:
        """Clips to the maps of res5: slow `(B, 2048, T / alpha, H/32, W/32)` and fast `(B, 256, T, H/32, W/32)`.

        With another `stage` ("stem", "res2" .. "res4") to the maps it gives, before the lateral connection behind it
        widens the slow one; nothing later is computed.
        """
        last = stages_until(stage)
        slow, fast = self.split(clips)
        fast, carried = self.fast.stem(fast), []  # nothing of Slow goes to Fast, which is done first
        laterals = cast(list[Lateral], list(self.laterals))
        for i, lateral in enumerate(laterals[:last]):
            carried.append(lateral(fast))
            fast = self.fast.stage(i, fast)
        return self.slow(slow, last, laterals, carried), fast
