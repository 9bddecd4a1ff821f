"""Convolution geometry: the positions of the kernel's windows on the image, from stride and padding, per axis."""

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

from jaxtyping import Array, Float

Image: TypeAlias = Float[Array, "n h w c"]  # input of a convolution, output of its adjoint
Kernel: TypeAlias = Float[Array, "k_h k_w c c_out"]
Response: TypeAlias = Float[Array, "n h_out w_out c_out"]  # output of a convolution, one pixel per window
BatchMinor: TypeAlias = Float[Array, "c h w n"]
Padding: TypeAlias = tuple[int, int, int]  # low, high and interior padding as for `lax.pad`; negative values crop


def swap_batch(x: Array) -> Array:
    """Transpose NHWC to CHWN (batch minor), or back."""
    return x.transpose(3, 1, 2, 0)


class Windows(NamedTuple):
    """Window positions: window `i` covers the pixels `stride·i - padding + u` of the image, `0 <= u < kernel`."""

    image: tuple[int, ...]  # height and width
    kernel: tuple[int, ...]
    stride: int
    padding: int

    @property
    def counts(self) -> tuple[int, ...]:
        """The number of windows per axis: height and width of the output."""
        sizes = zip(self.image, self.kernel, strict=True)
        return tuple((n + 2 * self.padding - k) // self.stride + 1 for n, k in sizes)

    @property
    def is_whole_image(self) -> bool:
        """Whether the only window is the whole image, so that the layer is fully connected."""
        return self.image == self.kernel and self.padding == 0

    def pad_to_windows(self, axis: int) -> Padding:
        """The padding that extends or crops the image to exactly the pixels that the windows cover."""
        covered = (self.counts[axis] - 1) * self.stride + self.kernel[axis]
        return self.padding, covered - self.padding - self.image[axis], 0

    def shifts(self, axis: int, phase: int) -> Iterator[tuple[int, Padding]]:
        """The taps `u` that touch the pixels `stride·q + phase`, and the padding that aligns their windows with `q`."""
        size, count = self.phase_size(axis), self.counts[axis]
        for u in range(self.kernel[axis]):
            shift, rest = divmod(phase + self.padding - u, self.stride)  # pixel q lies in window q + shift
            if rest == 0:
                yield u, (-shift, size + shift - count, 0)

    def phase_size(self, axis: int) -> int:
        """The largest number of pixels `stride·q + phase` over all phases."""
        return -(-self.image[axis] // self.stride)
