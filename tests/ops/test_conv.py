import functools
import re
from typing import NamedTuple

import jax
import numpy as np
import pytest
from jax import export
from jax import numpy as jnp

import ae_jax
from ae_jax import conv2d, conv_transpose2d
from tests.support.arrays import random_array, relative_difference
from tests.support.devices import needs_cpu

Pair = tuple[int, int]


class Case(NamedTuple):
    """Settings of a convolution, per axis, and the output padding of the transposed one."""

    image: Pair
    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    output_padding: Pair = (0, 0)
    n: int = 3

    @property
    def settings(self) -> dict[str, Pair]:
        return {"stride": self.stride, "padding": self.padding, "dilation": self.dilation}

    def arrays(self) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Images, a kernel for them, and one for the transposed convolution."""
        kernels = random_array(*self.kernel, 2, 4), random_array(*self.kernel, 4, 2, seed=1)
        return random_array(self.n, *self.image, 2), *kernels


CASES = [  # the models' layers, then unusual ones
    Case((28, 28), (3, 3), (2, 2), (1, 1), output_padding=(1, 1)),
    Case((14, 14), (3, 3), (2, 2), (1, 1), output_padding=(1, 1), n=7),
    Case((7, 7), (7, 7)),
    Case((28, 28), (3, 3), padding=(1, 1), n=1),
    Case((5, 8), (3, 3)),
    Case((5, 8), (4, 4), (3, 3), (2, 2), output_padding=(2, 2)),
    Case((6, 5), (2, 2), (2, 2), output_padding=(1, 1)),
    Case((9, 13), (3, 2), (1, 3), (2, 0), (2, 4), (1, 2), n=1),
    Case((8, 9), (1, 5), (3, 2), (0, 4), (1, 2), (2, 1)),
    Case((3, 4), (2, 2), (4, 4), (3, 3), (3, 1), (3, 2)),  # windows that lie in the padding
    Case((12, 1), (5, 1), (2, 1), (2, 0), output_padding=(1, 0)),
    Case((7, 7), (4, 4), dilation=(2, 2)),  # the only window, with gaps
    Case((10, 7), (3, 2), (3, 2), output_padding=(1, 1)),  # patches
]
RTOL = 2e-6  # float32 sums of up to 98 products


def conv2d_by_definition(x: jax.Array, kernel: jax.Array, case: Case) -> np.ndarray:
    """Gather every window's pixels, and sum their products with the kernel."""
    padded = np.pad(np.asarray(x, np.float64), ((0, 0), *((p, p) for p in case.padding), (0, 0)))
    rows, columns = (
        s * np.arange((size - d * (k - 1) - 1) // s + 1)[:, None] + d * np.arange(k)
        for size, k, s, d in zip(padded.shape[1:3], case.kernel, case.stride, case.dilation, strict=True)
    )
    return np.einsum("niujvc,uvcd->nijd", padded[:, rows][:, :, :, columns], np.asarray(kernel, np.float64))


def conv_transpose2d_by_definition(x: jax.Array, kernel: jax.Array, case: Case) -> np.ndarray:
    """Add every pixel's product with the kernel to the pixels of its window, and crop the padding."""
    starts = [s * np.arange(size) for s, size in zip(case.stride, x.shape[1:3], strict=True)]
    sizes = [
        int(start[-1]) + d * (k - 1) + 1 + more
        for start, d, k, more in zip(starts, case.dilation, case.kernel, case.output_padding, strict=True)
    ]
    full = np.zeros((len(x), *sizes, kernel.shape[2]))
    for u in range(case.kernel[0]):
        for v in range(case.kernel[1]):
            rows, columns = starts[0] + case.dilation[0] * u, starts[1] + case.dilation[1] * v
            full[:, rows[:, None], columns] += np.asarray(x, np.float64) @ np.asarray(kernel[u, v], np.float64).T
    return full[:, case.padding[0] : sizes[0] - case.padding[0], case.padding[1] : sizes[1] - case.padding[1]]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("batch_minor", [False, True])
def test_conv2d_and_conv_transpose2d_match_their_definitions(case: Case, batch_minor: bool) -> None:
    x, kernel, swapped = case.arrays()

    @jax.jit
    def both(x: jax.Array, kernel: jax.Array, swapped: jax.Array) -> tuple[jax.Array, jax.Array]:
        settings = {**case.settings, "batch_minor": batch_minor}
        return conv2d(x, kernel, **settings), conv_transpose2d(
            x, swapped, **settings, output_padding=case.output_padding
        )

    y, spread = both(x, kernel, swapped)
    assert relative_difference(y, conv2d_by_definition(x, kernel, case)) <= RTOL
    assert relative_difference(spread, conv_transpose2d_by_definition(x, swapped, case)) <= RTOL


@pytest.mark.parametrize("case", CASES)
def test_conv2d_and_conv_transpose2d_match_pytorch(case: Case) -> None:
    torch = pytest.importorskip("torch")
    x, kernel, swapped = case.arrays()
    images, *kernels = (torch.from_numpy(np.array(array)) for array in (x, kernel, swapped))
    images, kernels = images.movedim(-1, 1), [each.permute(3, 2, 0, 1) for each in kernels]
    y = torch.nn.functional.conv2d(images, kernels[0], **case.settings)
    assert relative_difference(conv2d(x, kernel, **case.settings), y.movedim(1, -1).numpy()) <= RTOL
    settings = {**case.settings, "output_padding": case.output_padding}
    spread = torch.nn.functional.conv_transpose2d(images, kernels[1], **settings)
    assert relative_difference(conv_transpose2d(x, swapped, **settings), spread.movedim(1, -1).numpy()) <= RTOL


@pytest.mark.parametrize("case", [case for case in CASES if max(case.output_padding) < min(case.stride)])
def test_conv_transpose2d_is_the_adjoint_of_conv2d(case: Case) -> None:
    @jax.jit
    def both(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, jax.Array]:
        spread = conv_transpose2d(x, kernel, **case.settings, output_padding=case.output_padding)
        _, adjoint = jax.vjp(lambda y: conv2d(y, kernel, **case.settings), jnp.zeros(spread.shape))
        return spread, adjoint(x)[0]

    x, _, kernel = case.arrays()
    spread, adjoint = both(x, kernel)
    assert relative_difference(spread, adjoint) <= RTOL


@pytest.mark.parametrize("case", CASES)
def test_accelerators_have_the_same_convolution_and_gradients(case: Case) -> None:
    @jax.jit
    def convolve(x: jax.Array, kernel: jax.Array, y: jax.Array) -> tuple[jax.Array, ...]:
        result, pull_back = jax.vjp(functools.partial(conv2d, **case.settings, batch_minor=True), x, kernel)
        return result, *pull_back(y)

    x, kernel, _ = case.arrays()
    arrays = (x, kernel, random_array(*jax.eval_shape(functools.partial(conv2d, **case.settings), x, kernel).shape))
    elsewhere = [export.DisabledSafetyCheck.platform()]  # the program for a TPU, on this machine
    exported = export.export(convolve, platforms=["tpu"], disabled_checks=elsewhere)(*arrays)
    assert "stablehlo.convolution" in exported.mlir_module()
    assert relative_difference(tuple(exported.call(*arrays)), convolve(*arrays)) <= RTOL


def test_strided_transposed_convolution_adds_in_float32() -> None:
    x = jnp.full((1, 8, 8, 1), 40_000, jnp.float16)  # the sum of two overflows
    kernel = jnp.array([1, 1, -1, -1], jnp.float16).reshape(4, 1, 1, 1)
    y = conv_transpose2d(x, kernel)[0, :, 0, 0]
    np.testing.assert_array_equal(y, [40_000, np.inf, 40_000, *[0] * 5, -40_000, -np.inf, -40_000])


PAIR = "must be an integer of at least"
SHAPES = (2, 5, 5, 1), (3, 3, 1, 4)


@pytest.mark.parametrize(
    ("message", "image", "kernel", "settings"),
    [
        (f"stride {PAIR} 1, or a pair of them, not 0", *SHAPES, {"stride": 0}),
        (rf"stride {PAIR} 1, .*, not \(1, 2, 3\)", *SHAPES, {"stride": (1, 2, 3)}),
        (f"padding {PAIR} 0, .*, not -1", *SHAPES, {"padding": -1}),
        (f"dilation {PAIR} 1, .*, not 1.5", *SHAPES, {"dilation": 1.5}),
        (r"x has 2 channels, but kernel \(k_h, k_w, c, c_out\) is for 3", (2, 5, 5, 2), (3, 3, 3, 4), {}),
        (r"x must have the axes \(n, h, w, c\), got shape \(5, 5, 1\)", (5, 5, 1), (3, 3, 1, 4), {}),
        (
            r"the result would be empty: the kernel spans \[5, 9\] pixels, the padded image \[7, 7\]",
            *(*SHAPES, {"dilation": (2, 4), "padding": 1}),
        ),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_wrong_shapes_and_settings_of_conv2d_are_named(
    message: str, image: tuple[int, ...], kernel: tuple[int, ...], settings: dict[str, object]
) -> None:
    with pytest.raises(ValueError, match=message):
        conv2d(jnp.zeros(image), jnp.zeros(kernel), **settings)


@pytest.mark.usefixtures("unchecked")
def test_wrong_shapes_and_settings_of_conv_transpose2d_are_named() -> None:
    x, kernel = jnp.zeros((2, 5, 5, 3)), jnp.zeros((3, 3, 4, 3))
    with pytest.raises(ValueError, match=r"must be less than the larger of stride and dilation, not \(1, 2\)"):
        conv_transpose2d(x, kernel, stride=2, output_padding=(1, 2))
    with pytest.raises(ValueError, match=r"x has 3 channels, but kernel \(k_h, k_w, c_out, c_in\) is for 4"):
        conv_transpose2d(x, jnp.swapaxes(kernel, 2, 3))
    with pytest.raises(ValueError, match="the result would be empty: -1×1 pixels from 5×5"):
        conv_transpose2d(x, kernel, padding=(4, 3))
    with pytest.raises(ValueError, match="same floating-point dtype, got float32 and bfloat16"):
        conv_transpose2d(x, kernel.astype(jnp.bfloat16))
    with pytest.raises(ValueError, match="same floating-point dtype, got uint8 and uint8"):
        conv_transpose2d(x.astype(jnp.uint8), kernel.astype(jnp.uint8))


@pytest.mark.parametrize(("platform", "has_convolutions"), [("cpu", False), ("cuda", True), ("tpu", True)])
def test_cpus_lower_to_matrix_products_and_accelerators_to_xla_convolutions(
    platform: str, has_convolutions: bool
) -> None:
    state = ae_jax.create_train_state(ae_jax.ConvAutoencoder(), jax.random.key(0))
    program = ae_jax.train_step.trace(state, jnp.zeros((2, 28, 28, 1))).lower(lowering_platforms=(platform,)).as_text()
    assert ("stablehlo.convolution" in program) == has_convolutions


@needs_cpu
def test_no_activation_is_transposed_between_layers() -> None:
    state = ae_jax.create_train_state(ae_jax.ConvAutoencoder(), jax.random.key(0))
    images, kernel = jnp.zeros((48, 28, 28, 1)), jnp.zeros((3, 3, 1, 16))
    widest = re.compile(r"= f32\[48,14,14,16\]\{3,2,1,0\} (?:copy|transpose|fusion)")  # channels minor
    assert not widest.findall(ae_jax.train_step.lower(state, images).compile().as_text())

    layer = jax.jit(functools.partial(conv2d, stride=2, padding=1))  # positive control: a result has to be NHWC
    assert widest.findall(layer.lower(images, kernel).compile().as_text())
