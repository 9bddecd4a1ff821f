import jax
import numpy as np
import pytest
from flax import linen as nn
from flax.errors import ScopeParamShapeError
from jax import numpy as jnp

import ae_jax
from tests.support.arrays import random_array, relative_difference

X = random_array(3, 11, 9, 4)
KEY = jax.random.key(1)


@pytest.mark.parametrize(
    ("ours", "flax"),
    [
        (
            ae_jax.Conv(6, kernel_size=(3, 4), stride=(2, 1), padding=(1, 0), dilation=(1, 2)),
            nn.Conv(6, (3, 4), strides=(2, 1), padding=((1, 1), (0, 0)), kernel_dilation=(1, 2)),
        ),
        (
            ae_jax.ConvTranspose(6, kernel_size=3, stride=(2, 1), padding=1, output_padding=(1, 0)),
            nn.ConvTranspose(6, (3, 3), strides=(2, 1), padding=((1, 2), (1, 1)), transpose_kernel=True),
        ),
    ],
)
def test_layers_initialise_and_compute_as_those_of_flax(ours: nn.Module, flax: nn.Module) -> None:
    (y, variables), (expected, others) = ours.init_with_output(KEY, X), flax.init_with_output(KEY, X)
    np.testing.assert_array_equal(variables["params"]["kernel"], others["params"]["kernel"])
    np.testing.assert_array_equal(variables["params"]["bias"], others["params"]["bias"])
    assert relative_difference(y, expected) <= 1e-6  # sums in another order


@pytest.mark.parametrize("layer_class", [ae_jax.Conv, ae_jax.ConvTranspose])
def test_dtypes_initialisers_and_a_missing_bias_are_settings(layer_class: type[ae_jax.Conv]) -> None:
    ones = nn.initializers.ones
    layer = layer_class(2, 3, use_bias=False, dtype=jnp.bfloat16, param_dtype=jnp.float16, kernel_init=ones)
    y, variables = layer.init_with_output(KEY, X)
    assert y.dtype == jnp.bfloat16
    assert jax.tree.map(lambda leaf: leaf.dtype, variables["params"]) == {"kernel": jnp.float16}
    assert (variables["params"]["kernel"] == 1).all()
    biased = layer_class(2, 3, bias_init=ones)
    expected = layer_class(2, 3).init_with_output(KEY, X)[0] + 1
    assert relative_difference(biased.init_with_output(KEY, X)[0], expected) <= 1e-6


def test_parameters_may_carry_partitioning_metadata() -> None:
    layer = ae_jax.Conv(2, 3, kernel_init=nn.with_partitioning(nn.initializers.ones, (None, None, None, "model")))
    y, variables = layer.init_with_output(KEY, X)
    np.testing.assert_array_equal(layer.apply(variables, X), y)


@pytest.mark.parametrize("layer_class", [ae_jax.Conv, ae_jax.ConvTranspose])
@pytest.mark.usefixtures("unchecked")
def test_wrong_settings_and_channels_are_named(layer_class: type[ae_jax.Conv]) -> None:
    layer = layer_class(6, kernel_size=3)
    variables = layer.init(KEY, X)
    with pytest.raises(ScopeParamShapeError, match=r'parameter "kernel" .* but the existing parameter'):
        layer.apply(variables, X[..., :3])
    with pytest.raises(ValueError, match="stride must be an integer of at least 1, or a pair of them, not 0"):
        layer_class(6, kernel_size=3, stride=0).init(KEY, X)
    with pytest.raises(ValueError, match=r"kernel_size must be an integer of at least 1, .*, not \(3, 0\)"):
        layer_class(6, kernel_size=(3, 0)).init(KEY, X)
    empty = {ae_jax.Conv: layer_class(6, (1, 10)), ae_jax.ConvTranspose: layer_class(6, 1, padding=6)}
    with pytest.raises(ValueError, match="the result would be empty"):
        empty[layer_class].init(KEY, X)
