"""Numerical parity with PyTorch in float64: always against golden files, and live where PyTorch is installed.

Tolerances. float32 sums of up to 1,568 products are off by some units of their last place, 6e-8 of the value: outputs
agree to 1e-6 of a tensor's largest entry, gradients, which pass twice as many layers, to 5e-6. Adam divides a gradient
by its own magnitude, which turns the relative error of an entry into an absolute error of its step, whose length is
about the learning rate: after 20 steps, each parameter agrees to one percent of a single step, and the mean distance is
no more than 1.5 times that of PyTorch's float32 parameters.
"""

from collections.abc import Callable

import jax
import numpy as np
import pytest
from jax import numpy as jnp
from safetensors.numpy import load_file

import ae_jax
from ae_jax.models.autoencoders import make_model
from tests.conftest import ROOT
from tests.support.arrays import relative_difference
from tests.support.torch_case import LEARNING_RATE, WEIGHT_DECAY, make_case

ARCHS = ["linear", "conv", "conv-pool"]
Arrays = dict[str, np.ndarray]
pytestmark = pytest.mark.optimised


@pytest.fixture(params=["golden", "live"])
def reference(request: pytest.FixtureRequest) -> Callable[[str], Arrays]:
    if request.param == "golden":
        return lambda arch: load_file(ROOT / "tests" / "golden" / f"{arch}.safetensors")
    pytest.importorskip("torch")
    from tests.support.torch_reference import make_reference

    return lambda arch: make_reference(arch, *make_case(arch))


@pytest.mark.parametrize("arch", ARCHS)
def test_latents_positions_and_reconstructions_match_pytorch(arch: str, reference: Callable[[str], Arrays]) -> None:
    expected, model = reference(arch), make_model(arch)
    state_dict, batches = make_case(arch)
    params = ae_jax.params_from_torch(model, state_dict)
    apply = jax.jit(model.apply, static_argnames="method")
    code = apply({"params": params}, batches[0], method="encode")
    recons = apply({"params": params}, code, method="decode")
    latents, positions = code if arch == "conv-pool" else (code, ())
    assert relative_difference(latents, expected["latents"]) <= 1e-6
    assert relative_difference(recons, expected["recons"]) <= 1e-6
    for i, found in enumerate(positions):
        np.testing.assert_array_equal(found, expected[f"positions_{i}"])


@pytest.mark.parametrize("arch", ARCHS)
def test_every_gradient_matches_pytorch(arch: str, reference: Callable[[str], Arrays]) -> None:
    expected, model = reference(arch), make_model(arch)
    state_dict, batches = make_case(arch)

    def loss(params: dict) -> jax.Array:
        return ae_jax.reconstruction_loss(model, params, jnp.asarray(batches[0])).mean()

    grads = jax.jit(jax.grad(loss))(ae_jax.params_from_torch(model, state_dict))
    errors = {
        name: relative_difference(grad, expected[f"grads/{name}"])
        for name, grad in ae_jax.params_to_torch(model, grads).items()
    }
    assert max(errors.values()) <= 5e-6, errors


@pytest.mark.parametrize(("mode", "torch_name"), [("decoupled", "adamw"), ("l2", "adam_l2")])
@pytest.mark.parametrize("arch", ["linear", "conv"])
def test_parameters_after_twenty_adam_steps_are_as_near_to_float64_as_pytorchs(
    arch: str, mode: str, torch_name: str, reference: Callable[[str], Arrays]
) -> None:
    expected, model = reference(arch), make_model(arch)
    state_dict, batches = make_case(arch)
    state = ae_jax.create_train_state(
        model,
        jax.random.key(0),
        learning_rate=LEARNING_RATE,
        weight_decay=WEIGHT_DECAY,
        weight_decay_mode=mode,
        params=ae_jax.params_from_torch(model, state_dict),
    )
    for batch in batches:
        state, _ = ae_jax.train_step(state, batch)
    errors = {
        name: np.abs(array - expected[f"{torch_name}/{name}"])
        for name, array in ae_jax.params_to_torch(model, state.params).items()
    }
    assert max(error.max() for error in errors.values()) <= 0.01 * LEARNING_RATE
    mean = np.concatenate([error.ravel() for error in errors.values()]).mean()
    assert mean <= 1.5 * expected[f"{torch_name}_distance"]


@pytest.mark.parametrize("output", ["sigmoid", "tanh"])
@pytest.mark.parametrize("arch", ARCHS)
def test_pytorch_reproduces_reconstructions_from_converted_parameters(arch: str, output: str) -> None:
    pytest.importorskip("torch")
    from tests.support.torch_reference import make_reference

    model = make_model(arch, output=output)
    _, batches = make_case(arch)
    params = ae_jax.create_train_state(model, jax.random.key(0)).params
    state_dict = ae_jax.params_to_torch(model, params)
    recons = jax.jit(model.apply)({"params": params}, batches[0])
    if output == "tanh":  # with Normalize(0.5, 0.5), PyTorch takes and returns images in [-1, 1]
        expected = (make_reference(arch, state_dict, 2 * batches - 1, output)["recons"] + 1) / 2
    else:
        expected = make_reference(arch, state_dict, batches)["recons"]  # loads with strict=True
    assert relative_difference(recons, expected) <= 1e-5
