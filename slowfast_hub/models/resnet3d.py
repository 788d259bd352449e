"""One pathway and a head: Slow-only and Fast-only (paper, Table 5), I3D and C2D (PySlowFast's R50 forms)."""

from __future__ import annotations

from torch import Tensor

from slowfast_hub.models.blocks import init_weights
from slowfast_hub.models.classifier import Classifier, check_clips, stages_until
from slowfast_hub.models.pathway import Pathway
from slowfast_hub.spec import ResNet3DArch


class ResNet3D(Classifier):
    """Clips `(B, 3, T, H, W)`, normalised, to logits `(B, num_classes)`; a detector, given rois, `(N, num_classes)`."""

    arch: ResNet3DArch

    def __init__(self, arch: ResNet3DArch) -> None:
        super().__init__()
        self.pathway = Pathway(
            arch,
            in_channels=arch.in_chans,
            width=arch.width,
            depth=arch.depth,
            kernels=arch.temporal_kernels,
            nonlocal_at=arch.nonlocal_at,
            stem_strides=arch.stem_strides,
            stem_padding=arch.stem_padding,
            temporal_pool=arch.temporal_pool,
        )
        self.finish(arch, self.pathway.num_features)
        init_weights(self, zero_init_last=arch.zero_init_last)

    def forward_features(self, clips: Tensor, stage: str = "res5") -> tuple[Tensor]:  # type: ignore[override]
        """Clips to the map of res5, `(B, 2048, T', H/32, W/32)`, in a tuple of one; T' = T / strides and pool.

        With another `stage` ("stem", "res2" .. "res4") to the map it gives, that of res2 before the pool over time;
        nothing later is computed.
        """
        last = stages_until(stage)
        check_clips("clips", clips, self.arch.in_chans)
        first, second = self.arch.stem_strides
        least = first * second * (self.arch.temporal_pool - 1) + 1  # strides round up, the pool rounds down
        if clips.shape[2] < least:
            raise ValueError(f"a clip needs at least {least} frames; got {clips.shape[2]}")
        return (self.pathway(clips, last),)
