"""StableHLO programs of a trained model, which need only JAX.

Each is a serialised `jax.export.Exported`: StableHLO with embedded parameters, any batch size, for CPU, CUDA, TPU. How
long it can be read is under "compatibility guarantees" in JAX's documentation of export.
"""

import functools
from typing import Any

import jax
from jax import export as jax_export
from jax import lax
from jax import numpy as jnp

from ae_jax.exchange.program import Program
from ae_jax.models.autoencoders import PooledCode
from ae_jax.runs.trained_model import TrainedModel

_PLATFORMS = ("cpu", "cuda", "tpu")


def stablehlo_programs(trained: TrainedModel) -> dict[str, Program]:
    """`encode`, `decode` and `reconstruct` as files."""
    return {name: Program(bytes(each.serialize()), _signature(each)) for name, each in _export(trained).items()}


def _signature(exported: jax_export.Exported) -> str:
    arguments, results = (", ".join(map(str, avals)) for avals in (exported.in_avals, exported.out_avals))
    return f"{arguments} → {results}"


def _export(trained: TrainedModel) -> dict[str, jax_export.Exported]:
    """Export `encode`, `decode` and `reconstruct` with embedded parameters.

    Images are `f32[batch, 28, 28, 1]` in [0, 1], latent codes `f32[batch, latent_dim]`. A model with pooling also has
    positions, `i32[batch, 14, 14, 16]` and `i32[batch, 7, 7, 32]`: `encode` returns and `decode` takes all three.
    """
    (batch,) = jax_export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, 28, 28, 1), jnp.float32)

    def apply(*args: Any, **kwargs: Any) -> Any:
        # The barrier prevents constant folding, so that XLA computes in the same order as with arguments.
        return trained.model.apply({"params": lax.optimization_barrier(trained.params)}, *args, **kwargs)

    def encode(images: jax.Array) -> Any:
        code = apply(images, method="encode")
        return (code.latents, *code.positions) if isinstance(code, PooledCode) else code

    def decode(latents: jax.Array, *positions: jax.Array) -> Any:
        code = PooledCode(latents, positions) if positions else latents  # type: ignore[arg-type]  # two arrays
        return apply(code, method="decode")

    def reconstruct(images: jax.Array) -> Any:
        return apply(images)

    code = jax.tree.leaves(jax.eval_shape(encode, images))
    export = functools.partial(jax_export.export, platforms=_PLATFORMS)
    return {
        "encode": export(jax.jit(encode))(images),
        "decode": export(jax.jit(decode))(*code),
        "reconstruct": export(jax.jit(reconstruct))(images),
    }
