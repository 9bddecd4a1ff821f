"""`ae-jax reconstruct`: encode and decode the user's images with a trained model."""

import io
from pathlib import Path
from typing import Any

import numpy as np

from ae_jax.data.array_files import read_images
from ae_jax.data.batching import normalise_on_host
from ae_jax.errors import InputError
from ae_jax.figures import figure_bytes, reconstruction_figure
from ae_jax.inspection.config import ReconstructConfig
from ae_jax.metrics.image_quality import squared_error
from ae_jax.models.autoencoders import PooledCode
from ae_jax.runs.inference import latents
from ae_jax.runs.load import load_model
from ae_jax.runs.trained_model import TrainedModel
from ae_jax.system.outputs import write_output
from ae_jax.types import FloatImages, HostImages

_MAX_DRAWN = 100


def reconstruct_images(config: ReconstructConfig) -> None:
    """Encode and decode images, and write the reconstructions, the latent codes or both.

    Raises:
      InputError: the run or the images cannot be read, or the file format cannot store the codes.
      RunError: a file cannot be written.
    """
    trained = load_model(config.run)
    images = read_images(Path(config.images))
    if config.codes and Path(config.codes).suffix == ".npy" and trained.config.arch == "conv-pool":
        raise InputError(f"codes of conv-pool include pooling positions; give --codes a .npz file, not {config.codes}.")
    code = trained.encode(images)
    if config.codes:
        write_output(config.codes, _code_bytes(code, Path(config.codes).suffix))
        print(f"{len(images):,} {trained.model.latent_dim}-dimensional latent codes: {config.codes}")
    if config.out:
        recons = trained.decode(code)
        write_output(config.out, _recons_bytes(trained, images, recons, Path(config.out).suffix))
        error = squared_error(normalise_on_host(images), recons).mean()
        print(f"{len(images):,} reconstructions, mean squared error {error:.5f}: {config.out}")


def _recons_bytes(trained: TrainedModel, images: HostImages, recons: FloatImages, suffix: str) -> bytes:
    if suffix in (".npy", ".npz"):
        return _array_bytes({"reconstructions": recons}, suffix)
    drawn = slice(_MAX_DRAWN)
    note = f": first {_MAX_DRAWN} of {len(images):,} images" if len(images) > _MAX_DRAWN else ""
    figure = reconstruction_figure(normalise_on_host(images[drawn]), recons[drawn], trained.title + note)
    return figure_bytes(figure, suffix)


def _code_bytes(code: Any, suffix: str) -> bytes:
    arrays = {"latents": latents(code)}
    if isinstance(code, PooledCode):
        arrays |= {f"positions_{i}": positions for i, positions in enumerate(code.positions)}
    return _array_bytes(arrays, suffix)


def _array_bytes(arrays: dict[str, np.ndarray], suffix: str) -> bytes:
    """The content of a `.npz` file of the arrays, or of a `.npy` file of the only one."""
    content = io.BytesIO()
    if suffix == ".npz":
        np.savez(content, **arrays)  # type: ignore[arg-type]  # no array is called allow_pickle
    else:
        (array,) = arrays.values()
        np.save(content, array, allow_pickle=False)
    return content.getvalue()
