import functools
import re
from collections.abc import Callable
from types import ModuleType

import jax
import numpy as np
import pytest
from jax import lax
from jax import numpy as jnp

import ae_jax
from ae_jax import conv2d, conv_transpose2d
from ae_jax.ops import conv_im2col, conv_xla
from ae_jax.ops.conv import add_bias
from ae_jax.ops.windows import Windows
from tests.support.outcomes import largest_difference

# height, width, kernel, stride, padding, output padding: the models' layers, then unusual ones
CASES = [
    (28, 28, 3, 2, 1, 1),
    (14, 14, 3, 2, 1, 1),
    (7, 7, 7, 1, 0, 0),
    (5, 8, 3, 1, 0, 0),
    (5, 8, 4, 3, 2, 2),
    (6, 5, 2, 2, 0, 1),
]
ATOL = 2e-5  # float32 sums of up to 98 products of numbers around 1


def random_arrays(*shapes: tuple[int, ...]) -> list[jax.Array]:
    random = np.random.default_rng(0)
    return [jnp.asarray(random.standard_normal(shape, np.float32)) for shape in shapes]


def conv2d_by_definition(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> np.ndarray:
    padded = np.pad(np.asarray(x, np.float64), ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    k = len(kernel)
    height, width = ((size - k) // stride + 1 for size in padded.shape[1:3])
    out = np.zeros((len(x), height, width, kernel.shape[-1]))
    for i in range(height):
        for j in range(width):
            window = padded[:, stride * i : stride * i + k, stride * j : stride * j + k]
            out[:, i, j] = np.einsum("nuvc,uvcd->nd", window, kernel)
    return out


def conv_transpose2d_by_definition(
    x: jax.Array, kernel: jax.Array, stride: int, padding: int, output_padding: int
) -> np.ndarray:
    n, height, width, _ = x.shape
    k = len(kernel)
    full = np.zeros(
        (n, (height - 1) * stride + k + output_padding, (width - 1) * stride + k + output_padding, kernel.shape[2])
    )
    for i in range(height):
        for j in range(width):
            spread = np.einsum("nc,uvdc->nuvd", x[:, i, j], kernel)
            full[:, stride * i : stride * i + k, stride * j : stride * j + k] += spread
    return full[:, padding : full.shape[1] - padding, padding : full.shape[2] - padding]


@pytest.mark.parametrize(("height", "width", "k", "stride", "padding", "output_padding"), CASES)
def test_conv2d_and_conv_transpose2d_match_their_definitions(
    height: int, width: int, k: int, stride: int, padding: int, output_padding: int
) -> None:
    settings = {"stride": stride, "padding": padding, "output_padding": output_padding}
    x, kernel = random_arrays((3, height, width, 2), (k, k, 2, 4))
    forward = jax.jit(functools.partial(conv2d, stride=stride, padding=padding))(x, kernel)
    np.testing.assert_allclose(forward, conv2d_by_definition(x, kernel, stride, padding), atol=ATOL)
    kernel = jnp.asarray(np.swapaxes(kernel, 2, 3))
    spread = jax.jit(functools.partial(conv_transpose2d, **settings))(x, kernel)
    expected = conv_transpose2d_by_definition(x, kernel, stride, padding, output_padding)
    np.testing.assert_allclose(spread, expected, atol=ATOL)


@pytest.mark.parametrize(("height", "width", "k", "stride", "padding", "output_padding"), CASES)
def test_conv_transpose2d_is_the_adjoint_of_conv2d(
    height: int, width: int, k: int, stride: int, padding: int, output_padding: int
) -> None:
    @jax.jit
    def both(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, jax.Array]:
        spread = conv_transpose2d(x, kernel, stride=stride, padding=padding, output_padding=output_padding)
        _, adjoint = jax.vjp(lambda y: conv2d(y, kernel, stride=stride, padding=padding), jnp.zeros(spread.shape))
        return spread, adjoint(x)[0]

    spread, adjoint = both(*random_arrays((3, height, width, 2), (k, k, 4, 2)))
    np.testing.assert_allclose(spread, adjoint, atol=ATOL)


@pytest.mark.parametrize(
    ("n", "height", "width", "k", "stride", "padding", "output_padding"),
    [(n, *case) for n, case in zip((7, 7, 7, 1, 3, 5, 1), [*CASES, (9, 4, 3, 2, 0, 0)], strict=True)],
)
def test_im2col_and_xla_lowerings_agree(
    n: int, height: int, width: int, k: int, stride: int, padding: int, output_padding: int
) -> None:
    windows = Windows((height, width), (k, k), stride, padding)
    x, kernel, y = random_arrays((n, height, width, 3), (k, k, 3, 5), (n, *windows.counts, 5))

    @functools.partial(jax.jit, static_argnums=0)
    def everything(lowering: ModuleType) -> list[jax.Array]:
        return [
            lowering.convolve(x, kernel, windows),
            lowering.convolve_transposed(y, kernel, windows),
            lowering.kernel_gradient(x, y, windows),
            lowering.bias_gradient(y),
        ]

    by_columns, by_xla = everything(conv_im2col), everything(conv_xla)
    assert [array.shape for array in by_columns] == [array.shape for array in by_xla]
    scale = max(float(jnp.abs(array).max()) for array in by_xla)
    assert largest_difference(by_columns, by_xla) <= 1e-6 * scale  # sums of up to 7 · 196 products


def layers(x: jax.Array, kernels: dict[str, jax.Array], *, reference: bool) -> jax.Array:
    """A convolution and a transposed one; the reference is XLA's convolution, with JAX's own derivatives."""
    if reference:
        windows = Windows(x.shape[1:3], (3, 3), 2, 1)
        y = jnp.tanh(conv_xla.convolve(x, kernels["down"], windows) + kernels["bias"][None, None, None])
        return jnp.sin(conv_xla.convolve_transposed(y, kernels["up"], windows))
    y = jnp.tanh(add_bias(conv2d(x, kernels["down"], stride=2, padding=1), kernels["bias"]))
    return jnp.sin(conv_transpose2d(y, kernels["up"], stride=2, padding=1, output_padding=1))


def loss(x: jax.Array, kernels: dict[str, jax.Array], *, reference: bool) -> jax.Array:
    return jnp.mean(layers(x, kernels, reference=reference) ** 2)


def gradients(x: jax.Array, kernels: dict[str, jax.Array], *, reference: bool) -> object:
    return jax.value_and_grad(loss, argnums=(0, 1))(x, kernels, reference=reference)


def per_image_gradients(x: jax.Array, kernels: dict[str, jax.Array], *, reference: bool) -> object:
    return jax.vmap(lambda x: gradients(x[None], kernels, reference=reference))(x)


def per_member_gradients(x: jax.Array, kernels: dict[str, jax.Array], *, reference: bool) -> object:
    population = jax.tree.map(lambda kernel: jnp.stack([kernel, 2 * kernel]), kernels)
    return jax.vmap(lambda kernels: gradients(x, kernels, reference=reference))(population)


def gradient_descent_in_scan(x: jax.Array, kernels: dict[str, jax.Array], *, reference: bool) -> object:
    def body(kernels: dict[str, jax.Array], x: jax.Array) -> tuple[dict[str, jax.Array], jax.Array]:
        value, (_, grads) = gradients(x[None], kernels, reference=reference)
        return jax.tree.map(lambda kernel, grad: kernel - 0.1 * grad, kernels, grads), value

    return lax.scan(body, kernels, x)


def second_order_gradient(x: jax.Array, kernels: dict[str, jax.Array], *, reference: bool) -> object:
    """Second-order gradient, as needed for a contractive penalty."""

    def penalty(kernels: dict[str, jax.Array]) -> jax.Array:
        return jnp.sum(jax.grad(loss)(x, kernels, reference=reference) ** 2)

    return jax.grad(penalty)(kernels)


TRANSFORMS = [
    gradients,
    per_image_gradients,
    per_member_gradients,
    gradient_descent_in_scan,
    second_order_gradient,
]


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_jax_transformations_match_those_of_the_xla_convolution(transform: Callable[..., object]) -> None:
    x, down, up, bias = random_arrays((5, 6, 6, 2), (3, 3, 2, 4), (3, 3, 2, 4), (4,))
    kernels = {"down": down, "up": up, "bias": bias}
    ours, expected = (
        jax.jit(transform, static_argnames="reference")(x, kernels, reference=reference) for reference in (False, True)
    )
    assert jax.tree.structure(ours) == jax.tree.structure(expected)
    assert largest_difference(ours, expected) <= 2e-6  # the largest values are around 1


def test_forward_mode_differentiation_raises_a_clear_error() -> None:
    x, kernel = random_arrays((1, 4, 4, 1), (3, 3, 1, 1))
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(lambda x: conv2d(x, kernel), (x,), (x,))


@pytest.mark.parametrize(("platform", "has_convolutions"), [("cpu", False), ("cuda", True), ("tpu", True)])
def test_cpus_lower_to_matrix_products_and_accelerators_to_xla_convolutions(
    platform: str, has_convolutions: bool
) -> None:
    state = ae_jax.create_train_state(ae_jax.ConvAutoencoder(), jax.random.key(0))
    images = jnp.zeros((2, 28, 28, 1))
    program = ae_jax.train_step.trace(state, images).lower(lowering_platforms=(platform,)).as_text()
    assert ("stablehlo.convolution" in program) == has_convolutions


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="checks the program that XLA compiles for CPUs")
def test_no_activation_is_transposed_between_layers() -> None:
    state = ae_jax.create_train_state(ae_jax.ConvAutoencoder(), jax.random.key(0))
    transposed = re.compile(
        r"= f32\[48,14,14,16\]\{3,2,1,0\} (?:copy|transpose|fusion)"
    )  # the widest layer, channels minor
    step = ae_jax.train_step.lower(state, jnp.zeros((48, 28, 28, 1))).compile().as_text()
    assert not transposed.findall(step)

    images, kernel = jnp.zeros((48, 28, 28, 1)), jnp.zeros((3, 3, 1, 16))  # positive control: a result has to be NHWC
    layer = jax.jit(functools.partial(conv2d, stride=2, padding=1)).lower(images, kernel).compile().as_text()
    assert transposed.findall(layer)
