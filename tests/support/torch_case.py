"""The seeded weights and images on which ae_jax is compared with PyTorch. Needs no torch.

Weights are drawn as PyTorch draws them, biases are ±1 to ±1.5, and the seeds are chosen so that the question has one
answer. In none of the 20 steps does an input of a ReLU come closer to 0 than 1e-4: there two right float32
implementations part ways, one seeing +1e-8 and the other -1e-8. And no gradient is so close to 0 that Adam, which
divides by its size, blows up its rounding: noise of 1e-7 of a tensor's largest gradient moves no parameter by more than
4e-6. The case of conv-pool is its first batch alone, where the largest two of a window are no closer than that either.
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
_WEIGHTS["conv-pool"] = {  # a pooling, or its undoing, stands behind each ReLU
    f"{half}.{3 * int(index) // 2}": shape
    for (half, index), shape in ((name.split("."), shape) for name, shape in _WEIGHTS["conv"].items())
}


def make_case(arch: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """A state dict of the tutorial's module, and `f32[steps, batch, 28, 28, 1]` images in [0, 1]."""
    random = np.random.RandomState(_SEED[arch])
    state_dict = {}
    for name, shape in _WEIGHTS[arch].items():
        bound = 1 / math.sqrt(math.prod(shape[1:]))
        out = shape[1] if arch != "linear" and name.startswith("decoder") else shape[0]
        state_dict[f"{name}.weight"] = random.uniform(-bound, bound, shape).astype(np.float32)
        size, sign = (
            random.uniform(1, 1.5, out),
            np.where(random.uniform(size=out) < 0.5, -1, 1),
        )
        state_dict[f"{name}.bias"] = (sign * size).astype(np.float32)
    images = random.uniform(0, 1, (NUM_STEPS, BATCH_SIZE, 28, 28, 1)).astype(np.float32)
    return state_dict, images
