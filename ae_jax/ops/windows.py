"""Where a convolution's kernel lies on its image: the arithmetic of strides and paddings, one axis at a time."""

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

from jaxtyping import Array, Float

Image: TypeAlias = Float[Array, "n h w c"]  # a convolution's input, and what its adjoint makes
Kernel: TypeAlias = Float[Array, "k_h k_w c c_out"]
Response: TypeAlias = Float[Array, "n h_out w_out c_out"]  # a convolution's output, a pixel for each window
BatchMinor: TypeAlias = Float[Array, "c h w n"]
Padding: TypeAlias = tuple[int, int, int]  # in front, behind and between, as `lax.pad` takes it; negative: cropped


def swap_batch(x: Array) -> Array:
    """Transpose NHWC to CHWN (batch minor), and back."""
    return x.transpose(3, 1, 2, 0)


class Windows(NamedTuple):
    """Window `i` covers the pixels `stride·i - padding + u` of the image, for each tap `0 <= u < kernel`."""

    image: tuple[int, ...]  # height and width
    kernel: tuple[int, ...]
    stride: int
    padding: int

    @property
    def counts(self) -> tuple[int, ...]:
        """Windows down and across."""
        sizes = zip(self.image, self.kernel, strict=True)
        return tuple((n + 2 * self.padding - k) // self.stride + 1 for n, k in sizes)

    @property
    def is_whole_image(self) -> bool:
        """There is one window, and it is the image: the layer is a dense one."""
        return self.image == self.kernel and self.padding == 0

    def frame(self, axis: int) -> Padding:
        """What brings the image to exactly the pixels that the windows cover."""
        covered = (self.counts[axis] - 1) * self.stride + self.kernel[axis]
        return self.padding, covered - self.padding - self.image[axis], 0

    def shifts(self, axis: int, phase: int) -> Iterator[tuple[int, Padding]]:
        """The taps that see the pixels `stride·q + phase`, and the padding that brings their windows to lie on `q`."""
        size, count = self.phase_size(axis), self.counts[axis]
        for u in range(self.kernel[axis]):
            shift, rest = divmod(phase + self.padding - u, self.stride)  # pixel q lies under window q + shift
            if rest == 0:
                yield u, (-shift, size + shift - count, 0)

    def phase_size(self, axis: int) -> int:
        """How many pixels `stride·q + phase` there are at most."""
        return -(-self.image[axis] // self.stride)
