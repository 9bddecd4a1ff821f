"""Make `exported.stablehlo`, a program as jax 0.7.2 exports it: python -m tests.golden.make_exported.

Made once, with jax 0.7.2, and not to be made again: it stands for the exports that users have.
"""

from pathlib import Path

import jax
from jax import export
from jax import numpy as jnp

if __name__ == "__main__":
    (batch,) = export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, 28, 28, 1), jnp.float32)
    exported = export.export(jax.jit(lambda images: images.max((1, 2, 3))), platforms=("cpu", "cuda", "tpu"))(images)
    Path(__file__).with_name("exported.stablehlo").write_bytes(bytes(exported.serialize()))
