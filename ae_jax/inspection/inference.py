"""A trained model on as many images as there are, chunk by chunk, in host memory."""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from ae_jax.data.batching import normalise
from ae_jax.models.autoencoders import Autoencoder, Code, PooledCode
from ae_jax.runs.load import TrainedModel
from ae_jax.types import Batch, HostBatch, HostCodes, HostImages, Params, Pixels

_CHUNK = 256  # images at a time: as many as caches hold


def encode(trained: TrainedModel, images: HostImages | HostBatch) -> Any:
    """The codes of `u8[n, 28, 28, 1]`, or `f32[n, 28, 28, 1]` in [0, 1], as the model's `encode` gives them."""
    return _in_chunks(functools.partial(_encode, trained.model, trained.params), images)


def encode_latents(trained: TrainedModel, images: HostImages) -> HostCodes:
    """`latents` of the codes; positions, which are larger than the images, are not even computed."""
    return _in_chunks(functools.partial(_encode_latents, trained.model, trained.params), images)


def decode(trained: TrainedModel, code: Any) -> Float[np.ndarray, "n 28 28 1"]:
    """What the model makes of codes, in [0, 1]."""
    return _in_chunks(functools.partial(_decode, trained.model, trained.params), code)


def latents(code: Any) -> Any:
    """The numbers of a code, `f32[n, d]`, without the positions that a model with pooling adds."""
    return code.latents if isinstance(code, PooledCode) else code


def with_latents(code: Any, new: Any) -> Any:
    """Codes of the numbers `f32[m, d]`; positions, where the model has them, are those of the one image in `code`."""
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
def _encode_latents(model: Autoencoder, params: Params, images: Pixels) -> Any:
    return latents(_encode(model, params, images))


@functools.partial(jax.jit, static_argnums=0)
def _decode(model: Autoencoder, params: Params, code: Code) -> Any:
    return model.apply({"params": params}, code, method="decode")


def _in_chunks(function: Any, batch: Any) -> Any:
    """`function` of each chunk of the arrays in `batch`, put together; the last is filled up: all are one program."""
    n = len(jax.tree.leaves(batch)[0])
    results = [jax.device_get(function(chunk)) for chunk in _chunks(batch, n, min(_CHUNK, n))]
    return jax.tree.map(lambda *parts: np.concatenate(parts)[:n], *results)


def _chunks(batch: Any, n: int, size: int) -> Iterator[Any]:
    for start in range(0, n, size):
        rows = np.minimum(np.arange(start, start + size), n - 1)
        yield jax.tree.map(lambda array: array[rows], batch)  # noqa: B023, it is called at once
