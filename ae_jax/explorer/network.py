"""Description of a trained model for `model.js`: geometry of its layers, and its parameters as one array."""

from typing import Any

import numpy as np
from flax import linen as nn
from jaxtyping import Float32

from ae_jax.models.autoencoders import Autoencoder, ConvPoolAutoencoder
from ae_jax.models.layers import Conv, ConvTranspose
from ae_jax.types import Params

_LINEAR = {"type": "linear", "size": 1, "stride": 1, "padding": 0, "outputPadding": 0}


def describe_network(model: Autoencoder, params: Params) -> tuple[dict[str, Any], Float32[np.ndarray, "weights"]]:
    """The description, JSON types, and all parameters; kernels in the order height, width, inputs, outputs.

    The JSDoc of `ModelDescription` in `model.js` has the keys.
    """
    bound: Any = model.bind({"params": params})
    weights: list[np.ndarray] = []
    halves = {half: [_describe(layer, weights) for layer in getattr(bound, half)] for half in ("encoder", "decoder")}
    description = {
        "latentDim": model.latent_dim,
        "output": model.output,
        "pools": isinstance(model, ConvPoolAutoencoder),
        **halves,
    }
    return description, np.concatenate(weights)


def _describe(layer: nn.Module, weights: list[np.ndarray]) -> dict[str, Any]:
    """Describe a layer and append its parameters to `weights`."""
    params = layer.variables["params"]
    kernel, bias = np.asarray(params["kernel"]), np.asarray(params["bias"])
    if isinstance(layer, ConvTranspose):
        kernel = kernel.swapaxes(2, 3)
    offset = sum(map(len, weights))
    weights += [kernel.ravel(), bias]
    *_, inputs, outputs = kernel.shape
    return {
        **_geometry(layer),
        "inputs": inputs,
        "outputs": outputs,
        "kernel": offset,
        "bias": offset + kernel.size,
    }


def _geometry(layer: nn.Module) -> dict[str, Any]:
    if not isinstance(layer, Conv | ConvTranspose):
        return _LINEAR
    is_transposed = isinstance(layer, ConvTranspose)
    return {
        "type": "convTranspose" if is_transposed else "conv",
        "size": layer.kernel_size,
        "stride": layer.stride,
        "padding": layer.padding,
        "outputPadding": layer.output_padding if is_transposed else 0,
    }
