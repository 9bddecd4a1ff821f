import functools
import re
from collections.abc import Callable
from types import ModuleType
from typing import NamedTuple

import jax
import numpy as np
import pytest
from jax import export
from jax import numpy as jnp
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import ae_jax
from ae_jax import conv2d, conv_transpose2d
from ae_jax.ops import conv_im2col, conv_xla
from ae_jax.ops.conv import add_bias
from ae_jax.ops.windows import Pair, Windows
from tests.support.devices import needs_cpu, needs_devices
from tests.support.outcomes import largest_difference
from tests.support.transformations import TRANSFORMATIONS, Params


class Case(NamedTuple):
    """Settings of a convolution, per axis, and the output padding of the transposed one."""

    image: Pair
    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    output_padding: Pair = (0, 0)

    @property
    def settings(self) -> dict[str, Pair]:
        return {"stride": self.stride, "padding": self.padding, "dilation": self.dilation}

    @property
    def windows(self) -> Windows:
        return Windows(*self[:5])


CASES = [  # the models' layers, then unusual ones
    Case((28, 28), (3, 3), (2, 2), (1, 1), output_padding=(1, 1)),
    Case((14, 14), (3, 3), (2, 2), (1, 1), output_padding=(1, 1)),
    Case((7, 7), (7, 7)),
    Case((28, 28), (3, 3), padding=(1, 1)),
    Case((5, 8), (3, 3)),
    Case((5, 8), (4, 4), (3, 3), (2, 2), output_padding=(2, 2)),
    Case((6, 5), (2, 2), (2, 2), output_padding=(1, 1)),
    Case((9, 13), (3, 2), (1, 3), (2, 0), (2, 4), (1, 2)),
    Case((8, 9), (1, 5), (3, 2), (0, 4), (1, 2), (2, 1)),
    Case((3, 4), (2, 2), (4, 4), (3, 3), (3, 1), (3, 2)),  # windows that lie in the padding
    Case((12, 1), (5, 1), (2, 1), (2, 0), output_padding=(1, 0)),
    Case((7, 7), (4, 4), dilation=(2, 2)),  # the only window, with gaps
    Case((10, 7), (3, 2), (3, 2), output_padding=(1, 1)),  # patches
]
ATOL = 2e-5  # float32 sums of up to 98 products of numbers around 1


def random_arrays(*shapes: tuple[int, ...]) -> list[jax.Array]:
    random = np.random.default_rng(0)
    return [jnp.asarray(random.standard_normal(shape, np.float32)) for shape in shapes]


def conv2d_by_definition(
    x: jax.Array, kernel: jax.Array, stride: Pair = (1, 1), padding: Pair = (0, 0), dilation: Pair = (1, 1)
) -> jax.Array:
    """Gather every window's pixels, and sum their products with the kernel."""
    padded = jnp.pad(x, ((0, 0), *((p, p) for p in padding), (0, 0)))
    rows, columns = (
        s * np.arange((size - d * (k - 1) - 1) // s + 1)[:, None] + d * np.arange(k)
        for size, k, s, d in zip(padded.shape[1:3], kernel.shape[:2], stride, dilation, strict=True)
    )
    pixels = padded[:, rows][:, :, :, columns]
    return jnp.einsum("niujvc,uvcd->nijd", pixels, kernel, precision="highest")


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
def test_conv2d_and_conv_transpose2d_match_their_definitions(case: Case) -> None:
    x, kernel, swapped = random_arrays((3, *case.image, 2), (*case.kernel, 2, 4), (*case.kernel, 4, 2))
    expected = jax.jit(conv2d_by_definition, static_argnums=(2, 3, 4))(x, kernel, *case[2:5])
    expected_spread = conv_transpose2d_by_definition(x, swapped, case)
    for batch_minor in (False, True):
        settings = {**case.settings, "batch_minor": batch_minor}
        forward = functools.partial(conv2d, **settings)
        np.testing.assert_allclose(jax.jit(forward)(x, kernel), expected, atol=ATOL)
        spread = functools.partial(conv_transpose2d, **settings, output_padding=case.output_padding)
        np.testing.assert_allclose(jax.jit(spread)(x, swapped), expected_spread, atol=ATOL)


@pytest.mark.parametrize("case", CASES)
def test_conv2d_and_conv_transpose2d_match_pytorch(case: Case) -> None:
    torch = pytest.importorskip("torch")
    x, kernel, swapped = random_arrays((3, *case.image, 2), (*case.kernel, 2, 4), (*case.kernel, 4, 2))
    images = torch.from_numpy(np.array(x)).movedim(-1, 1)
    forward = torch.nn.functional.conv2d(
        images, torch.from_numpy(np.array(kernel)).permute(3, 2, 0, 1), **case.settings
    )
    np.testing.assert_allclose(conv2d(x, kernel, **case.settings), forward.movedim(1, -1), atol=ATOL)
    spread = torch.nn.functional.conv_transpose2d(
        images,
        torch.from_numpy(np.array(swapped)).permute(3, 2, 0, 1),
        **case.settings,
        output_padding=case.output_padding,
    )
    ours = conv_transpose2d(x, swapped, **case.settings, output_padding=case.output_padding)
    np.testing.assert_allclose(ours, spread.movedim(1, -1), atol=ATOL)


@pytest.mark.parametrize("case", [case for case in CASES if max(case.output_padding) < min(case.stride)])
def test_conv_transpose2d_is_the_adjoint_of_conv2d(case: Case) -> None:
    @jax.jit
    def both(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, jax.Array]:
        spread = conv_transpose2d(x, kernel, **case.settings, output_padding=case.output_padding)
        _, adjoint = jax.vjp(lambda y: conv2d(y, kernel, **case.settings), jnp.zeros(spread.shape))
        return spread, adjoint(x)[0]

    spread, adjoint = both(*random_arrays((3, *case.image, 2), (*case.kernel, 4, 2)))
    np.testing.assert_allclose(spread, adjoint, atol=ATOL)


@pytest.mark.parametrize(("n", "case"), [*zip((7, 7, 7, 1, 1, 3, 5, 1, 2, 3, 0, 4, 2), CASES, strict=True)])
def test_im2col_and_xla_implementations_agree(n: int, case: Case) -> None:
    windows = case.windows
    arrays = random_arrays((n, *case.image, 3), (*case.kernel, 3, 5), (n, *windows.counts, 5))

    @functools.partial(jax.jit, static_argnums=0)
    def everything(module: ModuleType, x: jax.Array, kernel: jax.Array, y: jax.Array) -> list[jax.Array]:
        return [
            module.convolve(x, kernel, windows),
            module.convolve_transposed(y, kernel, windows),
            module.kernel_gradient(x, y, windows),
        ]

    by_columns, by_xla = everything(conv_im2col, *arrays), everything(conv_xla, *arrays)
    assert [array.shape for array in by_columns] == [array.shape for array in by_xla]
    scale = max(float(np.abs(array).max(initial=0)) for array in by_xla)
    assert largest_difference(by_columns, by_xla) <= 1e-6 * scale  # sums of up to 7 · 784 products


def layers(params: Params, x: jax.Array, *, batch_minor: bool = False) -> jax.Array:
    y = jnp.tanh(add_bias(conv2d(x, params["down"], stride=2, padding=1, batch_minor=batch_minor), params["bias"]))
    settings = {"stride": 2, "padding": 1, "output_padding": 1}
    return jnp.sin(conv_transpose2d(y, params["up"], **settings, batch_minor=batch_minor))


def layers_by_definition(params: Params, x: jax.Array) -> jax.Array:
    def down(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return conv2d_by_definition(x, kernel, (2, 2), (1, 1))

    y = jnp.tanh(down(x, params["down"]) + params["bias"][None, None, None])
    _, adjoint = jax.vjp(lambda x: down(x, params["up"]), jnp.zeros_like(x))
    return jnp.sin(adjoint(y)[0])


def make_params() -> tuple[Params, jax.Array]:
    down, up, bias, x = random_arrays((3, 3, 2, 4), (3, 3, 2, 4), (4,), (5, 4, 6, 2))
    return {"down": down / 3, "up": up / 3, "bias": bias}, x


@pytest.mark.parametrize("transform", TRANSFORMATIONS)
def test_transformations_match_those_of_the_definition(transform: Callable[..., object]) -> None:
    params, x = make_params()  # arguments, not constants: jaxlib 0.7.2 evaluates products of constants wrongly
    batch_major, batch_minor, expected = (
        jax.jit(functools.partial(transform, function))(params, x)
        for function in (layers, functools.partial(layers, batch_minor=True), layers_by_definition)
    )
    scale = max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(expected))
    for actual in (batch_major, batch_minor):
        assert largest_difference(actual, expected) <= 2e-6 * scale


def test_shardings_are_kept_on_a_mesh_with_explicit_axes() -> None:
    needs_devices(4)
    params, x = make_params()
    mesh = jax.make_mesh((4,), ("batch",), axis_types=(AxisType.Explicit,))
    x = x[jnp.arange(8) % 5]
    sharded = jax.device_put(x, NamedSharding(mesh, P("batch")))

    @jax.jit
    def both(params: Params, x: jax.Array) -> tuple[jax.Array, tuple[Params, jax.Array]]:
        return layers(params, x), jax.grad(lambda *args: jnp.mean(layers(*args) ** 2), argnums=(0, 1))(params, x)

    replicated = jax.device_put(params, NamedSharding(mesh, P()))
    (y, (of_params, of_x)), expected = both(replicated, sharded), both(params, x)
    assert jax.typeof(y).sharding.spec[0] == jax.typeof(of_x).sharding.spec[0] == "batch"
    assert not any(jax.typeof(grad).sharding.spec[0] for grad in of_params.values())
    assert largest_difference((y, (of_params, of_x)), expected) <= 1e-6
    with jax.set_mesh(mesh):
        assert largest_difference(both(replicated, sharded), expected) <= 1e-6


def test_operands_may_share_the_axes_of_an_explicit_mesh() -> None:
    needs_devices(4)
    x, kernel = random_arrays((4, 5, 5, 2), (3, 3, 2, 4))
    mesh = jax.make_mesh((2, 2), ("a", "b"), axis_types=(AxisType.Explicit, AxisType.Explicit))
    sharded = jax.device_put(x, NamedSharding(mesh, P(("a", "b"))))
    y = jax.jit(conv2d)(sharded, jax.device_put(kernel, NamedSharding(mesh, P(None, None, None, "a"))))
    np.testing.assert_allclose(y, conv2d(x, kernel), atol=ATOL)


def test_an_empty_axis_can_be_mapped() -> None:
    x, kernel = jnp.zeros((0, 4, 6, 6, 2)), jnp.zeros((3, 3, 2, 4))
    assert jax.vmap(conv2d, (0, None))(x, kernel).shape == (0, 4, 4, 4, 4)
    assert jax.vmap(ae_jax.max_pool2d)(x)[0].shape == (0, 4, 3, 3, 2)


def test_results_without_jit_are_the_same() -> None:
    x, kernel = random_arrays((2, 6, 6, 2), (3, 3, 2, 4))
    expected = conv2d(x, kernel, batch_minor=True), *ae_jax.max_pool2d(x)
    with jax.disable_jit():
        actual = conv2d(x, kernel, batch_minor=True), *ae_jax.max_pool2d(x)
    assert largest_difference(actual, expected) <= ATOL


def test_strided_transposed_convolution_adds_in_float32() -> None:
    x = jnp.full((1, 8, 8, 1), 40_000, jnp.float16)  # the sum of two overflows
    kernel = jnp.array([1, 1, -1, -1], jnp.float16).reshape(4, 1, 1, 1)
    y = conv_transpose2d(x, kernel)[0, :, 0, 0]
    np.testing.assert_array_equal(y, [40_000, np.inf, 40_000, *[0] * 5, -40_000, -np.inf, -40_000])


@pytest.mark.parametrize("check_vma", [True, False])
def test_shard_map_matches_one_device(check_vma: bool) -> None:
    needs_devices(4)
    params, x = make_params()
    mesh = jax.make_mesh((4,), ("batch",), axis_types=(AxisType.Auto,))
    x = x[jnp.arange(8) % 5]

    def loss(params: Params, x: jax.Array) -> jax.Array:
        def shard(params: Params, x: jax.Array) -> jax.Array:
            return jax.lax.psum(jnp.sum(layers(params, x) ** 2), "batch")

        specs = {"in_specs": (P(), P("batch")), "out_specs": P()}
        return jax.shard_map(shard, mesh=mesh, **specs, check_vma=check_vma)(params, x)

    actual = jax.jit(jax.value_and_grad(loss))(params, x)
    expected = jax.jit(jax.value_and_grad(lambda params, x: jnp.sum(layers(params, x) ** 2)))(params, x)
    assert largest_difference(actual, expected) <= 1e-5 * float(expected[0])


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_a_gradient_is_exported_for_any_batch_size(platform: str) -> None:
    params, x = make_params()

    @jax.jit
    def gradient(params: Params, x: jax.Array) -> Params:
        return jax.grad(lambda params: jnp.mean(layers(params, x, batch_minor=True) ** 2))(params)

    (n,) = export.symbolic_shape("n")
    shape = jax.ShapeDtypeStruct((n, *x.shape[1:]), x.dtype)
    exported = export.export(gradient, platforms=[platform])(params, shape)
    assert ("stablehlo.convolution" in exported.mlir_module()) == (platform != "cpu")
    if platform == jax.default_backend():
        loaded = export.deserialize(exported.serialize())
        for size in (1, 3, 5):
            assert largest_difference(loaded.call(params, x[:size]), gradient(params, x[:size])) <= 1e-6


@pytest.mark.parametrize(
    ("message", "image", "kernel", "settings"),
    [
        (
            "stride must be an integer of at least 1, or a pair of them, not 0",
            (2, 5, 5, 1),
            (3, 3, 1, 4),
            {"stride": 0},
        ),
        (r"stride must be .*, not \(1, 2, 3\)", (2, 5, 5, 1), (3, 3, 1, 4), {"stride": (1, 2, 3)}),
        ("padding must be an integer of at least 0, .*, not -1", (2, 5, 5, 1), (3, 3, 1, 4), {"padding": -1}),
        ("dilation must be .*, not 1.5", (2, 5, 5, 1), (3, 3, 1, 4), {"dilation": 1.5}),
        (r"x has 2 channels, but kernel \(k_h, k_w, c, c_out\) is for 3", (2, 5, 5, 2), (3, 3, 3, 4), {}),
        (r"x must have the axes \(n, h, w, c\), got shape \(5, 5, 1\)", (5, 5, 1), (3, 3, 1, 4), {}),
        ("kernel is empty", (2, 5, 5, 1), (0, 3, 1, 4), {}),
        (
            r"the result would be empty: the kernel spans \[5, 9\] pixels, the padded image \[7, 7\]",
            *((2, 5, 5, 1), (3, 3, 1, 4), {"dilation": (2, 4), "padding": 1}),
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
    images = jnp.zeros((2, 28, 28, 1))
    program = ae_jax.train_step.trace(state, images).lower(lowering_platforms=(platform,)).as_text()
    assert ("stablehlo.convolution" in program) == has_convolutions


@needs_cpu
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
