"""One benchmark, several definitions: the numbers that papers report, of the same parameters.

CE is the cross-entropy in nats and SE the squared error, both summed over the 784 pixels and averaged over the images;
R is `1e-5 / 2` times the sum of the squares of all weights and biases. "Train" are all 60,000 training images.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jax import numpy as jnp

from ae_jax.types import Params, Pixels
from benchmarks.deep_autoencoder.task import NUM_PIXELS, Split, cross_entropy, squared_error

_L2 = 1e-5
_EVA_STD = 0.3081  # of MNIST's pixels, by which Eva's program divides inputs and targets


class Definition(NamedTuple):
    """A paper's number: what it is, the lines of code that say so, and how it is computed from parameters."""

    text: str
    source: str
    numbers: Callable[[Params, Split], dict[str, float]]


def _kbfgs(params: Params, split: Split) -> dict[str, float]:
    penalty = _penalty(params)
    return {
        "train": cross_entropy(params, _train_images(split)) + penalty,
        "test": cross_entropy(params, split.test) + penalty,
    }


def _sonew(params: Params, split: Split) -> dict[str, float]:
    return {"train": cross_entropy(params, _train_images(split))}


def _eva(params: Params, split: Split) -> dict[str, float]:
    scale = 1 / (NUM_PIXELS * _EVA_STD**2)
    return {
        "train": scale * squared_error(params, _train_images(split)),
        "test": scale * squared_error(params, split.test),
    }


def _kfac(params: Params, split: Split) -> dict[str, float]:
    images = _train_images(split)
    return {
        "train loss": cross_entropy(params, images) + _penalty(params),
        "train error": squared_error(params, images),
    }


def _sutskever(params: Params, split: Split) -> dict[str, float]:
    return {"train": squared_error(params, _train_images(split))}


DEFINITIONS = {
    "kbfgs": Definition(
        "CE + R, train and test (Goldfarb, Ren & Bahamou 2020)",
        "github.com/renyiryry/kbfgs_neurips2020_public @ be57dc3: functions_utils.py, lines 33 and 239",
        _kbfgs,
    ),
    "sonew": Definition(
        "CE, train: its evaluation reads training images, too (Devvrit et al. 2023)",
        "github.com/devvrit/SONew @ 00f9ba0: torch_code/pytorch_autoencoder_nni.py, lines 139, 189 and 248",
        _sonew,
    ),
    "eva": Definition(
        "mean squared error per pixel of images with mean 0 and variance 1, train and test: SE / 74.42 (Zhang, "
        "Shi & Li 2023; its output is linear)",
        "github.com/lzhangbv/eva @ 7794271: examples/pytorch_mnist_autoencoder.py, lines 167 and 260",
        _eva,
    ),
    "kfac": Definition(
        "CE + R and SE, train (tensorflow/kfac; its network has tanh)",
        "github.com/tensorflow/kfac @ ddad637: kfac/examples/autoencoder_mnist.py, lines 258, 426 and 443",
        _kfac,
    ),
    "sutskever": Definition(
        "SE, train (Sutskever et al. 2013; its network has logistic units)",
        "as other papers transcribe it: its code was never published",
        _sutskever,
    ),
}


def _train_images(split: Split) -> Pixels:
    return np.concatenate([split.train, split.validation])


def _penalty(params: Params) -> float:
    return _L2 / 2 * float(sum(jnp.vdot(leaf, leaf) for leaf in jax.tree.leaves(params)))
