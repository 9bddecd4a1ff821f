"""Convolution geometry: the positions of the kernel's windows on the image, per axis."""

from collections.abc import Iterable, Iterator
from numbers import Integral
from typing import Any, NamedTuple, TypeAlias

from jaxtyping import Array, Float

Pair: TypeAlias = tuple[int, int]  # vertical and horizontal
Setting: TypeAlias = int | Pair  # of a convolution: one number for both axes, or one per axis
Image: TypeAlias = Float[Array, "n h w c"]  # input of a convolution, output of its adjoint
Kernel: TypeAlias = Float[Array, "k_h k_w c c_out"]
Response: TypeAlias = Float[Array, "n h_out w_out c_out"]  # output of a convolution, one pixel per window
BatchMinor: TypeAlias = Float[Array, "c h w n"]
LaxPadding: TypeAlias = tuple[int, int, int]  # low, high and interior padding as for `lax.pad`; negative values crop


def swap_batch(x: Array) -> Array:
    """Transpose NHWC to CHWN (batch minor), or back."""
    return x.transpose(3, 1, 2, 0)


def as_pair(name: str, setting: Any, *, at_least: int) -> Pair:
    """A setting of a convolution per axis; `ValueError` if it is not an integer of that size, or a pair of them."""
    pair = tuple(setting) if isinstance(setting, Iterable) else (setting, setting)
    if len(pair) != 2 or not all(isinstance(size, Integral) and int(size) >= at_least for size in pair):
        raise ValueError(f"{name} must be an integer of at least {at_least}, or a pair of them, not {setting!r}")
    return int(pair[0]), int(pair[1])


class Windows(NamedTuple):
    """Window positions, per axis: tap `u` of window `i` is the pixel `stride·i - padding + dilation·u` of the image."""

    image: Pair  # height and width
    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    batch_minor: bool  # see `conv2d`

    @property
    def counts(self) -> Pair:
        """The number of windows per axis: height and width of the output."""
        rows, columns = ((self.padded(axis) - self.extent(axis)) // self.stride[axis] + 1 for axis in (0, 1))
        return rows, columns

    @property
    def is_whole_image(self) -> bool:
        """Whether the only window is the whole image, so that the layer is fully connected."""
        return self.image == self.kernel and self.padding == (0, 0)

    def extent(self, axis: int) -> int:
        """The number of pixels from the first tap of a window to its last."""
        return self.dilation[axis] * (self.kernel[axis] - 1) + 1

    def padded(self, axis: int) -> int:
        """The number of pixels of the padded image."""
        return self.image[axis] + 2 * self.padding[axis]

    def pad_to_windows(self, axis: int) -> LaxPadding:
        """The padding that extends or crops the image to exactly the pixels that the windows cover."""
        covered = (self.counts[axis] - 1) * self.stride[axis] + self.extent(axis)
        return self.padding[axis], covered - self.padding[axis] - self.image[axis], 0

    def shifts(self, axis: int, phase: int) -> Iterator[tuple[int, LaxPadding]]:
        """The taps `u` that touch the pixels `stride·q + phase`, and the padding that aligns their windows with `q`."""
        size, count = self.phase_size(axis), self.counts[axis]
        for u in range(self.kernel[axis]):
            offset = phase + self.padding[axis] - self.dilation[axis] * u
            shift, rest = divmod(offset, self.stride[axis])  # pixel q lies in window q + shift
            if rest == 0:
                yield u, (-shift, size + shift - count, 0)

    def phase_size(self, axis: int) -> int:
        """The largest number of pixels `stride·q + phase` over all phases."""
        return -(-self.image[axis] // self.stride[axis])
