"""Shared type aliases: arrays with shapes and dtypes (jaxtyping), parameters, metrics and paths."""

import os
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Array, Float, Int, Int32, Key, UInt8, UInt32

Images: TypeAlias = Float[Array, "n ..."] | Float[np.ndarray, "n ..."]  # pixels in [0, 1], NHWC, on device or host
Pixels: TypeAlias = UInt8[Array, "n ..."] | UInt8[np.ndarray, "n ..."]  # pixels 0 to 255, as a dataset has them
HostImages: TypeAlias = UInt8[np.ndarray, "n 28 28 1"] | Float[np.ndarray, "n 28 28 1"]  # 0 to 255, or in [0, 1]
PackedPixels: TypeAlias = UInt32[Array, "n h words 1"] | UInt32[np.ndarray, "n h words 1"]  # four pixels per number
Picture: TypeAlias = UInt8[np.ndarray, "_ _"]  # greyscale, of any size

Latents: TypeAlias = Float[Array, "batch latent"]
HostCodes: TypeAlias = Float[np.ndarray, "n d"]
HostLabels: TypeAlias = Int32[np.ndarray, "n"]
PerImage: TypeAlias = Float[Array, "batch"]
Scalar: TypeAlias = Float[Array, ""]
StepLosses: TypeAlias = Float[Array, "steps"]
Step: TypeAlias = Int[Array, ""]
Order: TypeAlias = Int[Array, "n"]  # in which an epoch visits the images
RandomKey: TypeAlias = Key[Array, ""]
RandomKeys: TypeAlias = Key[Array, "keys"]
PerImageKeys: TypeAlias = Key[Array, "batch"]

Params: TypeAlias = dict[str, Any]  # {"encoder_0": {"kernel": f32[...], "bias": f32[...]}, ...}
StateDict: TypeAlias = dict[str, np.ndarray]  # {"encoder.0.weight": f32[...], ...}
Metrics: TypeAlias = dict[str, Scalar]
EpochsMetrics: TypeAlias = dict[str, Float[Array, "epochs"]]

PathLike: TypeAlias = str | os.PathLike[str]
