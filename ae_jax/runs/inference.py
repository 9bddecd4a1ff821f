"""Inference with a trained model in chunks, from and to host memory."""

import functools
import operator
from typing import Any

import jax
import numpy as np

from ae_jax.data.batching import normalise
from ae_jax.models.autoencoders import Autoencoder, Code, PooledCode
from ae_jax.types import AnyBatch, Batch, FloatImages, HostCodes, Params, Pixels

_CHUNK = 256  # images per call, few enough for the CPU caches


def encode(model: Autoencoder, params: Params, images: AnyBatch) -> Any:
    """The output of the model's `encode` for `u8[n, 28, 28, 1]`, or `f32[n, 28, 28, 1]` in [0, 1]."""
    return _in_chunks(functools.partial(_encode, model, params), images)


def encode_latents(model: Autoencoder, params: Params, images: AnyBatch) -> HostCodes:
    """`latents` of the codes, without computing pooling positions, which are larger than the images."""
    return _in_chunks(functools.partial(_encode_latents, model, params), images)


def decode(model: Autoencoder, params: Params, code: Any) -> FloatImages:
    """The decoded images, in [0, 1]."""
    return _in_chunks(functools.partial(_decode, model, params), code)


def latents(code: Any) -> Any:
    """The latent codes `f32[n, d]`, without the positions that a model with pooling adds."""
    return code.latents if isinstance(code, PooledCode) else code


def with_latents(code: Any, new: Any) -> Any:
    """Codes with the latents `new`, `f32[m, d]`, and any pooling positions of the single image in `code`."""
    if not isinstance(code, PooledCode):
        return new
    return code._replace(
        latents=new, positions=jax.tree.map(lambda x: np.broadcast_to(x[:1], (len(new), *x.shape[1:])), code.positions)
    )


@functools.partial(jax.jit, static_argnums=0)
def _encode(model: Autoencoder, params: Params, images: Pixels | Batch) -> Any:
    if images.dtype == np.uint8:
        images = normalise(images)
    return model.apply({"params": params}, images, method="encode")


@functools.partial(jax.jit, static_argnums=0)
def _encode_latents(model: Autoencoder, params: Params, images: Pixels | Batch) -> Any:
    return latents(_encode(model, params, images))


@functools.partial(jax.jit, static_argnums=0)
def _decode(model: Autoencoder, params: Params, code: Code) -> Any:
    return model.apply({"params": params}, code, method="decode")


def _in_chunks(function: Any, batch: Any) -> Any:
    """Map `function` over chunks of `batch` and concatenate; the last chunk is padded to avoid another compilation."""
    n = len(jax.tree.leaves(batch)[0])
    size = min(_CHUNK, n)
    chunks = (np.minimum(np.arange(start, start + size), n - 1) for start in range(0, n, size))
    results = [jax.device_get(function(jax.tree.map(operator.itemgetter(rows), batch))) for rows in chunks]
    return jax.tree.map(lambda *parts: np.concatenate(parts)[:n], *results)
