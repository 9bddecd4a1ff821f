"""PyTorch state dict conversion and PyTorch default initialisation for the models, without importing torch.

The tutorial's modules are `nn.Sequential`s with a ReLU after each layer but the last, so our layer `encoder_i` is their
`encoder.{2i}`, or `encoder.{3i}` where a pooling follows the ReLU. The layouts differ only by a permutation of axes:

| layer           | PyTorch's weight        | our kernel              |
|-----------------|-------------------------|-------------------------|
| Linear          | `[out, in]`             | `[in, out]`             |
| Conv2d          | `[out, in, k_h, k_w]`   | `[k_h, k_w, in, out]`   |
| ConvTranspose2d | `[in, out, k_h, k_w]`   | `[k_h, k_w, in, out]`   |
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen as nn
from jax import numpy as jnp

from ae_jax.choices import Arch
from ae_jax.models.autoencoders import MODELS, ConvPoolAutoencoder, param_shapes
from ae_jax.types import Params, RandomKey, StateDict


class _Layer(NamedTuple):
    name: str  # "decoder_1"
    torch_name: str  # "decoder.2"
    kernel_shape: tuple[int, ...]
    bias_shape: tuple[int, ...]

    @property
    def axes(self) -> tuple[int, ...]:
        """The permutation from PyTorch's weight to our kernel, the same for both kinds of convolution."""
        return (1, 0) if len(self.kernel_shape) == 2 else (2, 3, 1, 0)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        return tuple(self.kernel_shape[i] for i in np.argsort(self.axes))

    @property
    def fan_in(self) -> int:
        """PyTorch's fan-in: the product of all weight axes but the first, which for ConvTranspose2d is `in`."""
        return math.prod(self.weight_shape[1:])


def params_from_torch(model: nn.Module, state_dict: Mapping[str, Any]) -> Params:
    """Convert a PyTorch state dict of the tutorial's module of the same architecture to parameters of `model`.

    Args:
      model: one of this package's autoencoders.
      state_dict: `{"encoder.0.weight": array, "encoder.0.bias": array, …}`, any arrays that NumPy converts.

    Returns:
      `{"encoder_0": {"kernel": f32[…], "bias": f32[…]}, …}`, bit-equal to the given arrays.

    Raises:
      ValueError: keys or shapes do not match the model; the message lists every mismatch.
    """
    arrays = {name: np.asarray(array, np.float32) for name, array in state_dict.items()}
    layers = list(_layers(model))
    if mismatches := _mismatches(arrays, layers):
        raise ValueError("the state dict does not match the model: " + "; ".join(mismatches))
    return {
        layer.name: {
            "kernel": jnp.asarray(arrays[f"{layer.torch_name}.weight"].transpose(layer.axes)),
            "bias": jnp.asarray(arrays[f"{layer.torch_name}.bias"]),
        }
        for layer in layers
    }


def infer_architecture(state_dict: StateDict) -> tuple[Arch, int]:
    """Architecture and latent dimension of the model that a state dict matches best."""
    best: dict[int, tuple[Arch, int]] = {}  # by the number of mismatches
    for arch, model_class in MODELS.items():
        *_, last = (layer for layer in _layers(model_class()) if layer.name.startswith("encoder"))
        bias = state_dict.get(f"{last.torch_name}.bias")
        latent_dim = model_class().latent_dim if bias is None or bias.shape == (0,) else bias.size
        layers = list(_layers(model_class(latent_dim=latent_dim)))
        best.setdefault(len(_mismatches(state_dict, layers)), (arch, latent_dim))
    return best[min(best)]


def params_to_torch(model: nn.Module, params: Params) -> StateDict:
    """Convert parameters to a PyTorch state dict of contiguous NumPy arrays, the inverse of `params_from_torch`.

    Load it with `load_state_dict({name: torch.from_numpy(array) for name, array in state_dict.items()})`.

    >>> model = ae_jax.ConvAutoencoder()
    >>> params = ae_jax.create_train_state(model, jax.random.key(0)).params
    >>> state_dict = ae_jax.params_to_torch(model, params)  # {"encoder.0.weight": f32[16, 1, 3, 3], …}
    >>> jax.tree.all(jax.tree.map(np.array_equal, ae_jax.params_from_torch(model, state_dict), params))
    True
    """
    state_dict = {}
    for layer in _layers(model):
        kernel = np.asarray(params[layer.name]["kernel"])
        state_dict[f"{layer.torch_name}.weight"] = np.ascontiguousarray(kernel.transpose(np.argsort(layer.axes)))
        state_dict[f"{layer.torch_name}.bias"] = np.array(params[layer.name]["bias"])
    return state_dict


def torch_init(model: nn.Module, key: RandomKey) -> Params:
    """Draw parameters from PyTorch's default initialisation: U(-1/√fan_in, 1/√fan_in) for weights **and** biases.

    This interval is that of `kaiming_uniform_(a=√5)`, which `nn.Linear` and `nn.Conv*d` use for their weights
    (torch/nn/modules/linear.py and conv.py, `reset_parameters`).

    Returns:
      `{"encoder_0": {"kernel": f32[…], "bias": f32[…]}, …}`, with the shapes of `model`.
    """
    layers = list(_layers(model))
    params = {}
    for layer, layer_key in zip(layers, jax.random.split(key, len(layers)), strict=True):
        bound = 1 / math.sqrt(layer.fan_in)
        kernel_key, bias_key = jax.random.split(layer_key)
        params[layer.name] = {
            "kernel": jax.random.uniform(kernel_key, layer.kernel_shape, jnp.float32, minval=-bound, maxval=bound),
            "bias": jax.random.uniform(bias_key, layer.bias_shape, jnp.float32, minval=-bound, maxval=bound),
        }
    return params


def _layers(model: nn.Module) -> Iterator[_Layer]:
    """The layers of a model in the order of their names, from the shapes of its parameters."""
    spacing = 3 if isinstance(model, ConvPoolAutoencoder) else 2
    for name, params in param_shapes(model).items():
        half, index = name.rsplit("_", 1)
        yield _Layer(name, f"{half}.{spacing * int(index)}", params["kernel"].shape, params["bias"].shape)


def _mismatches(arrays: StateDict, layers: list[_Layer]) -> list[str]:
    expected = {f"{layer.torch_name}.weight": layer.weight_shape for layer in layers}
    expected |= {f"{layer.torch_name}.bias": layer.bias_shape for layer in layers}
    mismatches = [f"missing {name} {shape}" for name, shape in expected.items() if name not in arrays]
    mismatches += [f"unexpected {name} {array.shape}" for name, array in arrays.items() if name not in expected]
    mismatches += [
        f"{name} has shape {arrays[name].shape}, not {shape}"
        for name, shape in expected.items()
        if name in arrays and arrays[name].shape != shape
    ]
    return mismatches
