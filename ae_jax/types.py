"""The shape vocabulary: what the arrays of this package look like, and what a path may be, said once."""

import os
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Array, Float, Int, Int32, Key, UInt8

Images: TypeAlias = Float[Array, "batch 28 28 1"]  # NHWC, pixels in [0, 1]
Latents: TypeAlias = Float[Array, "batch latent"]
Batch: TypeAlias = Float[Array, "batch ..."]  # the same of any shape, for the caller's own models
PerImage: TypeAlias = Float[Array, "batch"]
Scalar: TypeAlias = Float[Array, ""]
StepLosses: TypeAlias = Float[Array, "steps"]
MembersStepLosses: TypeAlias = Float[Array, "members steps"] | Float[np.ndarray, "members steps"]
AnyLosses: TypeAlias = StepLosses | MembersStepLosses
EpochsMetrics: TypeAlias = dict[str, Float[Array, "epochs"]]
Step: TypeAlias = Int[Array, ""]
Order: TypeAlias = Int[Array, "n"]
MembersOrders: TypeAlias = Int[Array, "members n"]
PlacedOrder: TypeAlias = Order | MembersOrders | Int[np.ndarray, "n"]  # where the images are: on the device or the host
RandomKey: TypeAlias = Key[Array, ""]
RandomKeys: TypeAlias = Key[Array, "keys"]
MembersKeys: TypeAlias = Key[Array, "members"]
PerImageKeys: TypeAlias = Key[Array, "batch"]

Pixels: TypeAlias = UInt8[Array, "n ..."] | UInt8[np.ndarray, "n ..."]  # a dataset's images, on device or host
HostImages: TypeAlias = UInt8[np.ndarray, "n 28 28 1"]
HostBatch: TypeAlias = Float[np.ndarray, "batch ..."]  # `Batch` on the host
HostLabels: TypeAlias = Int32[np.ndarray, "n"]
HostCodes: TypeAlias = Float[np.ndarray, "n d"]

Params: TypeAlias = dict[str, Any]  # {"encoder_0": {"kernel": f32[...], "bias": f32[...]}, ...}
StateDict: TypeAlias = dict[str, np.ndarray]  # {"encoder.0.weight": f32[...], ...}
Metrics: TypeAlias = dict[str, Scalar]

PathLike: TypeAlias = str | os.PathLike[str]
