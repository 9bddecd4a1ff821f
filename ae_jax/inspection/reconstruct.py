"""`ae-jax reconstruct`: encode and decode the user's images with a trained model."""

import io
from pathlib import Path

import jax
import numpy as np

from ae_jax.data.batching import to_float
from ae_jax.data.digit import PICTURE_SUFFIXES, read_picture
from ae_jax.data.files import read_images
from ae_jax.errors import InputError
from ae_jax.figures import figure_bytes, reconstruction_figure
from ae_jax.metrics.quality import squared_error
from ae_jax.runs.trained import TrainedModel, load_model
from ae_jax.system import FIGURE_SUFFIXES, check_output, write_output
from ae_jax.types import HostImages

_ARRAYS = (".npy", ".npz")
_MAX_DRAWN = 100


def reconstruct_images(run: str, images: str, out: str | None = None, codes: str | None = None) -> None:
    """Encode and decode the user's images, and write the reconstructions `out`, the latent `codes` or both.

    Arguments as in `ae-jax reconstruct --help`. As arrays, reconstructions are f32[n, 28, 28, 1], codes f32[n, d].
    """
    if not out and not codes:
        raise InputError("nothing to write; give `out`, `codes` or both.")
    check_output(out, "out", (*_ARRAYS, *FIGURE_SUFFIXES))
    check_output(codes, "codes", _ARRAYS)
    trained = load_model(run)
    if codes and Path(codes).suffix == ".npy" and trained.config.arch == "conv-pool":
        raise InputError(f"codes of conv-pool include pooling positions; give `codes` a .npz file, not {codes}.")
    is_picture = Path(images).suffix.lower() in PICTURE_SUFFIXES
    pixels = (read_picture if is_picture else read_images)(Path(images))
    code = trained.encode(pixels)
    if codes:
        latents, *positions = jax.tree.leaves(code)
        arrays = {"latents": latents, **{f"positions_{i}": x for i, x in enumerate(positions)}}
        write_output(codes, _array_bytes(arrays, Path(codes).suffix))
        print(f"{len(pixels):,} {trained.model.latent_dim}-dimensional latent codes: {codes}")
    if out:
        recons = trained.decode(code)
        write_output(out, _recons_bytes(trained, pixels, recons, Path(out).suffix))
        error = squared_error(np.asarray(to_float(pixels)), recons).mean()
        print(f"{len(pixels):,} reconstructions, mean squared error {error:.5f}: {out}")


def _recons_bytes(trained: TrainedModel, images: HostImages, recons: HostImages, suffix: str) -> bytes:
    if suffix in _ARRAYS:
        return _array_bytes({"reconstructions": recons}, suffix)
    note = f": first {_MAX_DRAWN} of {len(images):,} images" if len(images) > _MAX_DRAWN else ""
    originals = np.asarray(to_float(images[:_MAX_DRAWN]))
    return figure_bytes(reconstruction_figure(originals, recons[:_MAX_DRAWN], trained.title + note), suffix)


def _array_bytes(arrays: dict[str, np.ndarray], suffix: str) -> bytes:
    """The content of a `.npz` file of the arrays, or of a `.npy` file of the only one."""
    content = io.BytesIO()
    if suffix == ".npz":
        np.savez(content, **arrays)  # type: ignore[arg-type]  # no array is called allow_pickle
    else:
        (array,) = arrays.values()
        np.save(content, array)
    return content.getvalue()
