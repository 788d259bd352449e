"""A convolution with what follows it - bias, ReLU, the sum with a shortcut - as one operator, and as plain ones.

The fused operators are those that torch's own compiler emits (torch/_inductor/fx_passes/mkldnn_fusion.py). They are not
public: they are used on x86, and only where they have the signatures known here. Everywhere else the plain operators
give the same numbers.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

X86 = ("x86_64", "AMD64")
SIGNATURES = {
    "_convolution_pointwise.default": "mkldnn::_convolution_pointwise(Tensor X, Tensor W, Tensor? B, int[] padding, "
    "int[] stride, int[] dilation, int groups, str attr, Scalar?[] scalars, str? algorithm) -> Tensor Y",
    "_convolution_pointwise_.binary": "mkldnn::_convolution_pointwise_.binary(Tensor(a!) other, Tensor X, Tensor W, "
    "Tensor? B, int[] padding, int[] stride, int[] dilation, int groups, str binary_attr, Scalar? alpha, "
    "str? unary_attr, Scalar?[] unary_scalars, str? unary_algorithm) -> Tensor(a!) Y",
    "_reorder_convolution_weight.default": "mkldnn::_reorder_convolution_weight(Tensor self, int[2] padding=0, "
    "int[2] stride=1, int[2] dilation=1, int groups=1, int[]? input_size=None) -> Tensor Y",
}


@cache
def is_available() -> bool:
    """Whether this torch has the operators, on a processor they were measured on."""
    if platform.machine() not in X86 or not torch.backends.mkldnn.is_available():
        return False
    found = {}
    for name in SIGNATURES:
        packet, overload = name.split(".")
        operator = getattr(torch.ops.mkldnn, packet, None)
        found[name] = str(getattr(getattr(operator, overload, None), "_schema", ""))
    return found == SIGNATURES


def has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 numbers itself (AVX512_BF16 or AMX)."""
    names = "_is_avx512_bf16_supported", "_is_amx_tile_supported"
    return any(getattr(torch.cpu, name, bool)() for name in names)


@dataclass(frozen=True)
class Target:
    """What a network is made ready for."""

    device: torch.device
    dtype: torch.dtype = torch.float32
    compiler: bool = False  # torch.compile follows, which fuses plain operators itself

    @property
    def cpu(self) -> bool:
        return self.device.type == "cpu"

    @property
    def fused(self) -> bool:
        """Whether to use the operators of oneDNN."""
        return self.cpu and not self.compiler and is_available()


class FusedConv(nn.Module):
    """Convolution of images `(N, C, H, W)` or `(N, C, T, H, W)`, channels last, with bias and, with `relu`, ReLU.

    It takes no gradients.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        *,
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
        relu: bool,
        target: Target,
    ) -> None:
        super().__init__()
        layout = torch.channels_last if weight.ndim == 4 else torch.channels_last_3d
        self.weight = nn.Parameter(weight.detach().to(target.dtype, memory_format=layout), requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias.detach().to(target.dtype), requires_grad=False)
        self.geometry = list(padding), list(stride), list(dilation), 1  # as the operators take it
        self.relu = relu
        self.fused = target.fused
        self._packed: tuple[torch.Size, Tensor] | None = None

    def _apply(self, *arguments: Any, **options: Any) -> Any:
        self._packed = None  # of other weights: .to() and its kind end here, and load_state_dict below
        return super()._apply(*arguments, **options)

    def _load_from_state_dict(self, *arguments: Any) -> None:
        self._packed = None
        super()._load_from_state_dict(*arguments)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_packed": None}  # what oneDNN orders cannot be copied

    def forward(self, images: Tensor, onto: Tensor | None = None) -> Tensor:
        """The result; with `onto`, the sum with it, written into its memory."""
        if not self.fused:
            return self.plain(images, onto)
        weight, operators = self.packed(images.shape), torch.ops.mkldnn
        if onto is None:
            act = "relu" if self.relu else "none"
            return operators._convolution_pointwise(images, weight, self.bias, *self.geometry, act, [], "")
        sum_and_act = "add", 1.0, "relu" if self.relu else None, (), ""
        return operators._convolution_pointwise_.binary(onto, images, weight, self.bias, *self.geometry, *sum_and_act)

    def plain(self, images: Tensor, onto: Tensor | None) -> Tensor:
        """The same with public operators."""
        padding, stride, dilation, groups = self.geometry
        convolution = torch.conv2d if images.ndim == 4 else torch.conv3d
        out = convolution(images, self.weight, self.bias, stride, padding, dilation, groups)
        if onto is not None:
            out = onto.add_(out)
        return out.relu_() if self.relu else out

    def packed(self, shape: torch.Size) -> Tensor:
        """The weights in the order oneDNN wants for inputs of this shape; in another one it reorders at every run."""
        packed = self._packed  # a pair read and written at once: threads may share a network
        if packed is None or packed[0] != shape:
            reorder = torch.ops.mkldnn._reorder_convolution_weight
            packed = self._packed = shape, reorder(self.weight, *self.geometry, shape)
        return packed[1]
