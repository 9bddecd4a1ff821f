"""Public names and the modules that define them."""

__version__: str

__all__ = [
    "Conv",
    "ConvAutoencoder",
    "ConvPoolAutoencoder",
    "ConvTranspose",
    "CorruptFileError",
    "Dataset",
    "InputError",
    "LinearAutoencoder",
    "PooledCode",
    "TrainState",
    "TrainedModel",
    "add_noise",
    "batches",
    "conv2d",
    "conv_transpose2d",
    "create_train_state",
    "cross_entropy_loss",
    "denoising_loss",
    "draw_glyphs",
    "eval_step",
    "evaluate",
    "fit",
    "load_checkpoint",
    "load_dataset",
    "load_model",
    "load_pretrained",
    "make_train_step",
    "max_pool2d",
    "max_unpool2d",
    "params_from_torch",
    "params_to_torch",
    "reconstruct",
    "reconstruction_loss",
    "save_checkpoint",
    "to_float",
    "train_epoch",
    "train_step",
]

from .data.batching import batches, to_float
from .data.datasets import Dataset, load_dataset
from .data.glyphs import draw_glyphs
from .errors import CorruptFileError, InputError
from .models.autoencoders import ConvAutoencoder, ConvPoolAutoencoder, LinearAutoencoder, PooledCode
from .models.layers import Conv, ConvTranspose
from .models.torch_weights import params_from_torch, params_to_torch
from .ops.conv import conv2d, conv_transpose2d
from .ops.pooling import max_pool2d, max_unpool2d
from .runs.trained import TrainedModel, load_model, load_pretrained
from .training.checkpoint import load_checkpoint, save_checkpoint
from .training.loop import reconstruct
from .training.losses import add_noise, cross_entropy_loss, denoising_loss, reconstruction_loss
from .training.state import TrainState, create_train_state
from .training.steps import eval_step, evaluate, fit, make_train_step, train_epoch, train_step
