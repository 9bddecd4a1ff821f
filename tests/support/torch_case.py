"""Seeded weights and images for the parity tests with PyTorch; needs no torch.

Weights follow PyTorch's default distribution, biases are ±1 to ±1.5, and the seeds are chosen so that correct float32
implementations agree. In all 20 steps, the inputs of ReLUs are at least 1e-4 away from 0, where rounding could change
their sign. No gradient is so small that Adam, which divides by its magnitude, amplifies rounding: noise of 1e-7 of a
tensor's largest gradient moves no parameter by more than 4e-6. conv-pool is compared on its first batch only, where
the two largest values of each pooling window also differ by at least 1e-4.
"""

import math

import numpy as np

LEARNING_RATE = 1e-3
WEIGHT_DECAY = 0.1  # large enough for 20 steps to tell decoupled decay from L2, and either from none
NUM_STEPS = 20
BATCH_SIZE = 2

_SEED = {"linear": 10, "conv": 230, "conv-pool": 215}

_WEIGHTS = {
    "linear": {
        **{f"encoder.{2 * i}": shape for i, shape in enumerate([(128, 784), (64, 128), (12, 64), (3, 12)])},
        **{f"decoder.{2 * i}": shape for i, shape in enumerate([(12, 3), (64, 12), (128, 64), (784, 128)])},
    },
    "conv": {
        **{f"encoder.{2 * i}": shape for i, shape in enumerate([(16, 1, 3, 3), (32, 16, 3, 3), (64, 32, 7, 7)])},
        **{f"decoder.{2 * i}": shape for i, shape in enumerate([(64, 32, 7, 7), (32, 16, 3, 3), (16, 1, 3, 3)])},
    },
}
_WEIGHTS["conv-pool"] = {  # a pooling or unpooling layer follows each ReLU
    f"{half}.{3 * int(index) // 2}": shape
    for (half, index), shape in ((name.split("."), shape) for name, shape in _WEIGHTS["conv"].items())
}


def make_case(arch: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return a state dict of the tutorial's module, and images `f32[steps, batch, 28, 28, 1]` in [0, 1]."""
    random = np.random.RandomState(_SEED[arch])
    state_dict = {}
    for name, shape in _WEIGHTS[arch].items():
        bound = 1 / math.sqrt(math.prod(shape[1:]))
        out = shape[1] if arch != "linear" and name.startswith("decoder") else shape[0]
        state_dict[f"{name}.weight"] = random.uniform(-bound, bound, shape).astype(np.float32)
        magnitude, sign = random.uniform(1, 1.5, out), np.where(random.uniform(size=out) < 0.5, -1, 1)
        state_dict[f"{name}.bias"] = (sign * magnitude).astype(np.float32)
    images = random.uniform(0, 1, (NUM_STEPS, BATCH_SIZE, 28, 28, 1)).astype(np.float32)
    return state_dict, images
