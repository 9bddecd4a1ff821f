"""Shared type aliases: arrays with shapes and dtypes (jaxtyping), parameters, metrics and paths."""

import os
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Array, Float, Int, Int32, Key, UInt8, UInt32

Images: TypeAlias = Float[Array, "batch 28 28 1"]  # NHWC, pixels in [0, 1]
Latents: TypeAlias = Float[Array, "batch latent"]
Batch: TypeAlias = Float[Array, "batch ..."]  # images of any shape, for custom models
PerImage: TypeAlias = Float[Array, "batch"]
Scalar: TypeAlias = Float[Array, ""]
StepLosses: TypeAlias = Float[Array, "steps"]
MembersStepLosses: TypeAlias = Float[Array, "members steps"] | Float[np.ndarray, "members steps"]
AnyLosses: TypeAlias = StepLosses | Float[np.ndarray, "steps"] | MembersStepLosses
EpochsMetrics: TypeAlias = dict[str, Float[Array, "epochs"]]
Step: TypeAlias = Int[Array, ""]
Order: TypeAlias = Int[Array, "n"]
PlacedOrder: TypeAlias = Order | Int[Array, "members n"] | Int[np.ndarray, "n"]  # on the device or host, as the images
RandomKey: TypeAlias = Key[Array, ""]
RandomKeys: TypeAlias = Key[Array, "keys"]
MembersKeys: TypeAlias = Key[Array, "members"]
PerImageKeys: TypeAlias = Key[Array, "batch"]

Pixels: TypeAlias = UInt8[Array, "n ..."] | UInt8[np.ndarray, "n ..."]  # images of a dataset, on device or host
PackedPixels: TypeAlias = UInt32[Array, "n h words 1"] | UInt32[np.ndarray, "n h words 1"]  # four pixels in a number
HostImages: TypeAlias = UInt8[np.ndarray, "n 28 28 1"]
HostBatch: TypeAlias = Float[np.ndarray, "batch ..."]  # `Batch` on the host
FloatBatch: TypeAlias = Batch | HostBatch
AnyBatch: TypeAlias = Pixels | FloatBatch
FloatImages: TypeAlias = Float[np.ndarray, "n 28 28 1"]  # pixels in [0, 1], on the host
Picture: TypeAlias = UInt8[np.ndarray, "_ _"]  # greyscale, of any size
HostLabels: TypeAlias = Int32[np.ndarray, "n"]
HostCodes: TypeAlias = Float[np.ndarray, "n d"]

Params: TypeAlias = dict[str, Any]  # {"encoder_0": {"kernel": f32[...], "bias": f32[...]}, ...}
StateDict: TypeAlias = dict[str, np.ndarray]  # {"encoder.0.weight": f32[...], ...}
Metrics: TypeAlias = dict[str, Scalar]

PathLike: TypeAlias = str | os.PathLike[str]
