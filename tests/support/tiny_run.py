"""A tiny run, whose checkpoint is stored with the tests: one 3 × 3 kernel, 20 images, 5 steps per epoch."""

import jax
import numpy as np
from flax import linen as nn

import ae_jax
from ae_jax.config import TrainConfig
from ae_jax.data.batching import batch_sizes
from ae_jax.models.autoencoders import Conv
from ae_jax.parallel.loaders import ResidentLoader
from ae_jax.parallel.mesh import make_mesh
from ae_jax.parallel.sharded_steps import make_sharded_steps
from ae_jax.parallel.sharding import replicate
from ae_jax.runs.loop import train_segments
from ae_jax.runs.program import Program
from ae_jax.runs.progress import Progress
from ae_jax.types import Images

METADATA = {"config": TrainConfig(batch_size=4, epochs=3).as_json(), "dataset_used": "none", "resumed": []}


class OneKernel(nn.Module):
    @nn.compact
    def __call__(self, images: Images) -> Images:
        return nn.sigmoid(Conv(1, kernel_size=3, padding=1)(images))


def begin() -> tuple[Program, Progress]:
    images = np.random.default_rng(0).integers(0, 256, (20, 28, 28, 1), np.uint8)
    mesh = make_mesh("auto", batch_size=4, images_per_core=None)
    sizes = batch_sizes(len(images), 4)
    program = Program(mesh, ResidentLoader(mesh, images), sizes, make_sharded_steps(mesh, 4), jax.random.key(1))
    state = replicate(mesh, ae_jax.create_train_state(OneKernel(), jax.random.key(0), learning_rate=0.1))
    return program, Progress(state, program.no_losses())


def train(program: Program, progress: Progress, num_steps: int) -> tuple[Program, Progress]:
    """Continue training until step `num_steps`."""
    for current in train_segments(program, progress, 3, lambda state: {"test_loss": 0.25}, stop_every=1):
        if current.step == num_steps:
            return program, current
    raise AssertionError("the run has only 15 steps")
