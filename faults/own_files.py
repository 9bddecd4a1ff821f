"""The user's own files: valid ones of each format, and what a corrupt copy may be read as."""

import dataclasses
import io
import zipfile
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from PIL import ExifTags, Image
from safetensors.numpy import save

import ae_jax
from faults.mutations import jpeg_structure, png_structure, read_member, with_member, with_png_checksums, zip_structure

Arrays: TypeAlias = list[np.ndarray]
_NUM_IMAGES = 200
_NPY_HEADER = 128  # bytes


@dataclasses.dataclass(frozen=True)
class OwnFile:
    """A valid file."""

    name: str
    content: bytes
    structure: Sequence[range]  # headers, directories and checksums in the content
    # What a content may be read as, or None if it must be refused; without a function anything, as checksums were made
    # to match the content.
    expected: Callable[[bytes], Arrays | None] | None
    seal: Callable[[bytes], bytes] = bytes  # from the content, which is corrupted, to that of the file


def own_files() -> dict[str, OwnFile]:
    """The files that need no PyTorch, by what they are."""
    images = np.random.default_rng(0).integers(0, 256, (_NUM_IMAGES, 28, 28), np.uint8)
    return _array_files(images, np.arange(_NUM_IMAGES)) | _image_files(images[0]) | _safetensors_files(_weights())


def torch_files() -> dict[str, OwnFile]:
    """PyTorch's own files."""
    import torch

    content = _bytes(lambda file: torch.save({k: torch.from_numpy(v) for k, v in _weights().items()}, file))
    name, values = "archive/data.pkl", [array for _, array in sorted(_weights().items())]
    pickle = read_member(content, name)
    return {
        ".pt": OwnFile("model.pt", content, zip_structure(content), lambda _: values),
        ".pt with valid checksums": OwnFile(
            "sealed.pt", pickle, [], None, lambda changed: with_member(content, name, changed)
        ),
    }


def _array_files(images: np.ndarray, labels: np.ndarray) -> dict[str, OwnFile]:
    """Without a checksum, pixels are those in the file; `.npz` files have checksums."""
    npy = _bytes(np.save, images)
    stored = _bytes(np.savez, images=images, labels=labels)
    packed = _bytes(np.savez_compressed, images=images // 64, labels=labels)
    header = [range(_NPY_HEADER)]

    def pixels(content: bytes) -> Arrays | None:
        stored = np.frombuffer(content[_NPY_HEADER:], np.uint8)
        return _splits(stored.reshape(images.shape), None) if stored.size == images.size else None

    return {
        ".npy": OwnFile("own.npy", npy, header, pixels),
        ".npz": OwnFile("own.npz", stored, zip_structure(stored), lambda _: _splits(images, labels)),
        "compressed .npz": OwnFile(
            "compressed.npz", packed, zip_structure(packed), lambda _: _splits(images // 64, labels)
        ),
        ".npy in .npz": OwnFile("sealed.npz", npy, header, pixels, lambda content: _archive({"images.npy": content})),
    }


def _image_files(image: np.ndarray) -> dict[str, OwnFile]:
    image = np.pad(image[4:24, 4:24], 4)  # a dark border: it has MNIST's form and is read as it is

    def same(_: bytes) -> Arrays:
        return [image.reshape(1, 28, 28, 1)]

    palette = _bytes(Image.fromarray(image).convert("P").save, format="PNG")
    grey = _bytes(Image.fromarray(image).save, format="PNG")
    photo = Image.fromarray(255 - np.kron(image, np.ones((10, 10), np.uint8))).convert("RGB")
    jpeg = _bytes(photo.save, format="JPEG", exif=_exif())
    return {
        ".png": OwnFile("digit.png", grey, png_structure(grey), same),
        ".png with a palette": OwnFile("palette.png", palette, png_structure(palette), same),
        ".png with valid checksums": OwnFile("sealed.png", palette, png_structure(palette), None, with_png_checksums),
        ".jpg": OwnFile("digit.jpg", jpeg, jpeg_structure(jpeg), None),  # it has no checksums
    }


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    return exif


def _safetensors_files(weights: dict[str, np.ndarray]) -> dict[str, OwnFile]:
    """Without a checksum, weights are those in the file."""
    content = save(weights, {"format": "pt"})
    size, start = len(content), len(content) - sum(array.nbytes for array in weights.values())
    offsets = {name: content.index(array.tobytes(), start) for name, array in weights.items()}

    def stored(content: bytes) -> Arrays | None:
        if len(content) < size:
            return None
        return [
            np.frombuffer(content, np.float32, array.size, offsets[name]).reshape(array.shape)
            for name, array in sorted(weights.items())
        ]

    return {".safetensors": OwnFile("model.safetensors", content, [range(8), range(start)], stored)}


def _weights() -> dict[str, np.ndarray]:
    """A state dict."""
    trained = ae_jax.load_pretrained("linear")
    return ae_jax.params_to_torch(trained.model, trained.params)


def _archive(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def _bytes(save: Callable[..., object], *args: Any, **options: Any) -> bytes:
    """The content that `save` writes to a file."""
    file = io.BytesIO()
    save(file, *args, **options)
    return file.getvalue()


def _splits(images: np.ndarray, labels: np.ndarray | None) -> Arrays:
    """All images, the training images, the test images, and the labels of both."""
    images, is_test = images[..., None], np.arange(len(images)) % 10 == 0
    return [
        images,
        images[~is_test],
        images[is_test],
        *([labels[~is_test], labels[is_test]] if labels is not None else []),
    ]
