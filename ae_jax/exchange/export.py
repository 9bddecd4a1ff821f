"""`scripts/export.py`: a trained model as programs that run wherever JAX does, without this package.

Each is a serialized `jax.export.Exported`: StableHLO with the parameters in it, for any number of images, for CPUs,
CUDA and TPUs.
"""

import functools
from pathlib import Path
from typing import Any

import jax
from jax import export as jax_export
from jax import lax
from jax import numpy as jnp

from ae_jax.errors import InputError
from ae_jax.exchange.config import ExportConfig
from ae_jax.models.autoencoders import PooledCode
from ae_jax.runs.load import TrainedModel, load_model
from ae_jax.system.outputs import write_output

_PLATFORMS = ("cpu", "cuda", "tpu")


def export_run(config: ExportConfig) -> None:
    """Write `encode.stablehlo`, `decode.stablehlo` and `reconstruct.stablehlo`.

    Raises:
      InputError: the run cannot be read, or the folder cannot be made.
      RunError: a file cannot be written.
    """
    trained = load_model(config.run)
    folder = Path(config.out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be made ({error.strerror}); give another folder.") from error
    for name, exported in export_model(trained).items():
        write_output(folder / f"{name}.stablehlo", bytes(exported.serialize()))
        print(f"{folder / name}.stablehlo: {_signature(exported)}")


def export_model(trained: TrainedModel) -> dict[str, jax_export.Exported]:
    """`encode`, `decode` and `reconstruct`, with the parameters in them.

    Images are `f32[batch, 28, 28, 1]` in [0, 1], codes `f32[batch, numbers]`. With pooling, codes are that and then the
    positions, `i32[batch, 14, 14, 16]` and `i32[batch, 7, 7, 32]`: `encode` returns a tuple of them, and `decode` takes
    three arguments.
    """
    (batch,) = jax_export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, 28, 28, 1), jnp.float32)

    def apply(*args: Any, **kwargs: Any) -> Any:
        # Constants behind a barrier are to XLA what arguments are: it computes with them in the same order.
        return trained.model.apply({"params": lax.optimization_barrier(trained.params)}, *args, **kwargs)

    def encode(images: jax.Array) -> Any:
        code = apply(images, method="encode")
        return (code.latents, *code.positions) if isinstance(code, PooledCode) else code

    def decode(latents: jax.Array, *positions: jax.Array) -> Any:
        code = PooledCode(latents, positions) if positions else latents  # type: ignore[arg-type]  # there are two
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


def _signature(exported: jax_export.Exported) -> str:
    arguments, results = (", ".join(map(str, avals)) for avals in (exported.in_avals, exported.out_avals))
    return f"{arguments} → {results}"
