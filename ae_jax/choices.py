"""Literal types of the settings, importable without JAX."""

from typing import Literal, TypeAlias

Arch: TypeAlias = Literal["conv", "linear", "conv-pool"]
Output: TypeAlias = Literal["sigmoid", "tanh"]
Devices: TypeAlias = int | Literal["auto"]
Precision: TypeAlias = Literal["float32", "bfloat16"]
Optimizer: TypeAlias = Literal["adam", "muon"]
WeightDecayMode: TypeAlias = Literal["decoupled", "l2"]
