"""Networks: sizes in, logits out.  This room knows no names, no files and no pixels."""

from slowfast_hub.models.resnet3d import ResNet3D
from slowfast_hub.models.slowfast import SlowFast
from slowfast_hub.spec import Arch, ResNet3DArch, SlowFastArch

VideoModel = SlowFast | ResNet3D

__all__ = ["ResNet3D", "SlowFast", "VideoModel", "build"]


def build(arch: Arch) -> VideoModel:
    """The network a row describes, with fresh weights, in training mode."""
    if isinstance(arch, SlowFastArch):
        return SlowFast(arch)
    if isinstance(arch, ResNet3DArch):
        return ResNet3D(arch)
    raise TypeError(f"an arch is a SlowFastArch or a ResNet3DArch; got {type(arch).__name__}")
