import math

import jax
import numpy as np
import pytest

import ae_jax
from ae_jax.models.autoencoders import make_model, param_shapes, torch_init
from ae_jax.models.torch_weights import infer_architecture
from tests.support.fixtures import random_parameter
from tests.support.torch_case import make_case

MODELS = {arch: make_model(arch) for arch in ("linear", "conv", "conv-pool")}
KEY = jax.random.key(0)


@pytest.mark.parametrize("arch", MODELS)
def test_conversion_is_bit_equal_in_both_directions(arch: str) -> None:
    model, (state_dict, _) = MODELS[arch], make_case(arch)
    params = ae_jax.params_from_torch(model, state_dict)
    for expected in (ae_jax.create_train_state(model, KEY).params, torch_init(model, KEY)):
        assert jax.tree.map(lambda x: (x.shape, x.dtype), params) == jax.tree.map(
            lambda x: (x.shape, x.dtype), expected
        )
    back = ae_jax.params_to_torch(model, params)
    assert back.keys() == state_dict.keys()
    for name, array in state_dict.items():
        assert back[name].flags.c_contiguous
        assert back[name].flags.writeable  # torch.from_numpy warns of others
        np.testing.assert_array_equal(back[name], array)


def test_state_dict_error_lists_every_wrong_key_and_shape() -> None:
    state_dict, _ = make_case("conv")
    del state_dict["encoder.0.bias"]
    state_dict["encoder.9.weight"] = np.zeros(3, np.float32)
    state_dict["decoder.2.weight"] = np.zeros((32, 16, 5, 5), np.float32)
    with pytest.raises(ValueError, match="state dict") as error:
        ae_jax.params_from_torch(MODELS["conv"], state_dict)
    message = str(error.value)
    assert "missing encoder.0.bias (16,)" in message
    assert "unexpected encoder.9.weight (3,)" in message
    assert "decoder.2.weight has shape (32, 16, 5, 5), not (32, 16, 3, 3)" in message


@pytest.mark.parametrize("arch", MODELS)
def test_torch_init_is_uniform_within_pytorchs_bounds(arch: str) -> None:
    state_dict = ae_jax.params_to_torch(MODELS[arch], torch_init(MODELS[arch], KEY))
    for name in [name for name in state_dict if name.endswith("weight")]:
        weight, bias = state_dict[name], state_dict[name.replace("weight", "bias")]
        bound = 1 / math.sqrt(math.prod(weight.shape[1:]))  # torch's fan_in: all axes but the first
        drawn = np.sort(np.concatenate([weight.ravel(), bias]) / bound)
        assert -1 <= drawn[0] <= drawn[-1] <= 1
        assert bias.std() > 0 or bias.size == 1
        # Kolmogorov-Smirnov statistic against the uniform distribution; it exceeds 2.2/√n with probability 1e-4
        distance = np.abs((drawn + 1) / 2 - (np.arange(drawn.size) + 0.5) / drawn.size).max()
        assert distance < 2.2 / math.sqrt(drawn.size)


def test_more_than_ten_layers_keep_their_order() -> None:
    model = ae_jax.LinearAutoencoder(hidden=(9,) * 11, latent_dim=9)
    params = jax.tree.map(random_parameter, param_shapes(model))
    state_dict = ae_jax.params_to_torch(model, params)
    assert infer_architecture(state_dict) == ("linear", {"latent_dim": 9, "hidden": (9,) * 11})
    for i in range(12):
        np.testing.assert_array_equal(state_dict[f"encoder.{2 * i}.weight"], params[f"encoder_{i}"]["kernel"].T)
