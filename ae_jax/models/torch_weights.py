"""Conversion between the models' parameters and PyTorch state dicts, without importing torch.

The tutorial's modules are `nn.Sequential`s with a ReLU after each layer but the last, so our layer `encoder_i` is their
`encoder.{2i}`, or `encoder.{3i}` where a pooling follows the ReLU. The layouts differ only by a permutation of axes:

| layer           | PyTorch's weight        | our kernel              |
|-----------------|-------------------------|-------------------------|
| Linear          | `[out, in]`             | `[in, out]`             |
| Conv2d          | `[out, in, k_h, k_w]`   | `[k_h, k_w, in, out]`   |
| ConvTranspose2d | `[in, out, k_h, k_w]`   | `[k_h, k_w, in, out]`   |
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from jax import numpy as jnp

from ae_jax.config import Arch
from ae_jax.models.autoencoders import MODELS, ConvPoolAutoencoder, make_model, param_shapes
from ae_jax.types import Params, StateDict

_ENCODER_BIAS = re.compile(r"encoder\.(\d{1,4})\.bias")


def params_from_torch(model: nn.Module, state_dict: Mapping[str, Any]) -> Params:
    """Convert a PyTorch state dict of the tutorial's module of the same architecture to parameters of `model`.

    It is `{"encoder.0.weight": array, "encoder.0.bias": array, …}`, with any arrays that NumPy converts.

    Returns:
      `{"encoder_0": {"kernel": f32[…], "bias": f32[…]}, …}`, bit-equal to the given arrays.

    Raises:
      ValueError: keys or shapes do not match the model; the message has the first differences.
    """
    arrays = {name: np.asarray(array, np.float32) for name, array in state_dict.items()}
    if mismatches := _mismatches(arrays, model):
        more = f"; and {len(mismatches) - 3} more differences" if len(mismatches) > 3 else ""
        raise ValueError(f"the state dict does not match the model: {'; '.join(mismatches[:3])}{more}")
    params = {}
    for layer, name, axes in _layers(model):
        kernel, bias = arrays[f"{name}.weight"].transpose(axes), arrays[f"{name}.bias"]
        params[layer] = {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)}
    return params


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
    for layer, name, axes in _layers(model):
        kernel, bias = np.asarray(params[layer]["kernel"]), np.asarray(params[layer]["bias"])
        state_dict[f"{name}.weight"] = np.array(kernel.transpose(np.argsort(axes)), order="C")
        state_dict[f"{name}.bias"] = bias.copy()
    return state_dict


def infer_architecture(state_dict: StateDict) -> tuple[Arch, dict[str, Any]]:
    """Architecture, and latent dimension and hidden widths, of the model that a state dict matches best."""
    biases = {int(match[1]): x.size for name, x in state_dict.items() if (match := _ENCODER_BIAS.fullmatch(name))}
    *hidden, latent_dim = [biases[i] for i in sorted(biases)] or [0]
    candidates: list[tuple[Arch, dict[str, Any]]] = [(arch, {}) for arch in MODELS]
    if hidden and min(*hidden, latent_dim) > 0:
        settings = {"latent_dim": latent_dim, "hidden": tuple(hidden)}
        candidates += [(arch, settings) for arch in MODELS if arch == "linear" or len(hidden) == 2]
    return min(candidates, key=lambda candidate: len(_mismatches(state_dict, make_model(candidate[0], **candidate[1]))))


def _layers(model: nn.Module) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """The name of each layer, its name in PyTorch, and the permutation from the axes of PyTorch's weight to ours."""
    spacing = 3 if isinstance(model, ConvPoolAutoencoder) else 2
    for layer, params in param_shapes(model).items():
        half, index = layer.rsplit("_", 1)
        yield layer, f"{half}.{spacing * int(index)}", (1, 0) if params["kernel"].ndim == 2 else (2, 3, 1, 0)


def _mismatches(arrays: StateDict, model: nn.Module) -> list[str]:
    blank = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), param_shapes(model))
    expected = {name: array.shape for name, array in params_to_torch(model, blank).items()}
    found = [f"missing {name} {shape}" for name, shape in expected.items() if name not in arrays]
    for name, array in arrays.items():
        if name not in expected:
            found.append(f"unexpected {name} {array.shape}")
        elif array.shape != expected[name]:
            found.append(f"{name} has shape {array.shape}, not {expected[name]}")
    return found
