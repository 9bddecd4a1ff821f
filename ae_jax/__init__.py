"""MNIST autoencoders in pure-functional JAX.

Importing this touches no file, no network and no device.
"""

__all__ = [
    "ConvAutoencoder",
    "Dataset",
    "InputError",
    "LinearAutoencoder",
    "TrainState",
    "batches",
    "conv2d",
    "conv_transpose2d",
    "create_train_state",
    "draw_glyphs",
    "eval_step",
    "evaluate",
    "find_dataset",
    "load_checkpoint",
    "load_dataset",
    "make_train_step",
    "normalise",
    "params_from_torch",
    "params_to_torch",
    "pca_mse",
    "reconstruct",
    "reconstruction_loss",
    "save_checkpoint",
    "torch_init",
    "train_epoch",
    "train_step",
]

from ae_jax.batching import batches, normalise
from ae_jax.checkpoint import load_checkpoint, save_checkpoint
from ae_jax.data import Dataset, find_dataset, load_dataset
from ae_jax.errors import InputError
from ae_jax.glyphs import draw_glyphs
from ae_jax.models import ConvAutoencoder, LinearAutoencoder
from ae_jax.ops import conv2d, conv_transpose2d
from ae_jax.pca import pca_mse
from ae_jax.state import TrainState, create_train_state
from ae_jax.torch_weights import params_from_torch, params_to_torch, torch_init
from ae_jax.train import (
    eval_step,
    evaluate,
    make_train_step,
    reconstruct,
    reconstruction_loss,
    train_epoch,
    train_step,
)
