"""Shared type aliases: arrays with shapes and dtypes (jaxtyping), parameters, metrics and paths."""

import os
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Array, Float, Int, Int32, Key, UInt8

Images: TypeAlias = Float[Array, "n ..."] | Float[np.ndarray, "n ..."]  # pixels in [0, 1], NHWC, on device or host
Pixels: TypeAlias = UInt8[Array, "n ..."] | UInt8[np.ndarray, "n ..."]  # pixels 0 to 255, as a dataset has them
HostImages: TypeAlias = UInt8[np.ndarray, "n 28 28 1"] | Float[np.ndarray, "n 28 28 1"]  # 0 to 255, or in [0, 1]
Picture: TypeAlias = UInt8[np.ndarray, "_ _"]  # greyscale, of any size

Latents: TypeAlias = Float[Array, "batch latent"]
HostCodes: TypeAlias = Float[np.ndarray, "n d"]
HostLabels: TypeAlias = Int32[np.ndarray, "n"]
PerExample: TypeAlias = Float[Array, "batch"]
Scalar: TypeAlias = Float[Array, ""]
Step: TypeAlias = Int[Array, ""]
Order: TypeAlias = Int[Array, "n"]  # in which an epoch visits the examples
RandomKey: TypeAlias = Key[Array, ""]
PerExampleKeys: TypeAlias = Key[Array, "batch"]

Batch: TypeAlias = Any  # a pytree of arrays with one leading axis, that of the examples
Params: TypeAlias = dict[str, Any]  # {"encoder_0": {"kernel": f32[...], "bias": f32[...]}, ...}
StateDict: TypeAlias = dict[str, np.ndarray]  # {"encoder.0.weight": f32[...], ...}
Metrics: TypeAlias = dict[str, Scalar]
StepMetrics: TypeAlias = dict[str, Float[Array, "steps"]]
EpochsMetrics: TypeAlias = dict[str, Float[Array, "epochs"]]

PathLike: TypeAlias = str | os.PathLike[str]
