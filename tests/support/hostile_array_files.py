"""Array files that claim more than they hold, or need more than a reader of arrays should do."""

import io
import os
import struct
import zipfile
from pathlib import Path

import numpy as np

IMAGES = np.zeros((20, 28, 28), np.uint8)


def npy(header: str, content: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    """A `.npy` file with any header."""
    length = struct.pack("<H" if version == (1, 0) else "<I", len(header.encode()))
    return b"\x93NUMPY" + bytes(version) + length + header.encode() + content


def header(descr: str = "'|u1'", shape: str = "(20, 28, 28)") -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}"


HOSTILE_HEADERS = {
    "huge": header(shape=f"({10**12}, 28, 28)"),
    "overflow": header(shape=f"({10**30}, 28, 28)"),
    "negative": header(shape="(-1, 28, 28)"),
    "long axis": header(shape=f"({'9' * 5000}, 28, 28)"),
    "object": header("'|O'"),
    "structured": header("[('a', '|u1')]"),
    "huge element": header(f"'|S{2**31 - 1}'", "()"),
    "nested": "(" * 9000,
    "unclosed": "{'descr': '|u1'",
    "strings": header(shape="('20', 28, 28)"),
    "code": "__import__('os').abort()",
    "not text": "\x80\xff",
    "long": " " * 60_000,
    "scalar": header(shape="()"),
}


def npz(member: bytes, *names: str, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A `.npz` file with the same content for all names, by default "images"."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        for name in names or ("images.npy",):
            archive.writestr(name, member)
    return content.getvalue()


def saved(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def with_sizes(content: bytes, unpacked: int, packed: int | None = None) -> bytes:
    """The archive of one member with other sizes in the central directory."""
    start = content.index(b"PK\x01\x02")
    if packed is None:
        packed = int.from_bytes(content[start + 20 : start + 24], "little")
    return content[: start + 20] + struct.pack("<II", packed, unpacked) + content[start + 28 :]


def encrypted(content: bytes) -> bytes:
    """The archive with the flag of an encrypted member."""
    start = content.index(b"PK\x01\x02")
    return content[: start + 8] + b"\x01\x00" + content[start + 10 :]


def hostile_array_files(folder: Path) -> list[Path]:
    """Write the files; each must be refused."""
    good, claim = npz(saved(IMAGES)), header(shape="(25, 28, 28)")
    contents = {f"{name}.npy": npy(text) for name, text in HOSTILE_HEADERS.items()}
    contents |= {f"{name}.npz": npz(npy(text)) for name, text in HOSTILE_HEADERS.items()}
    contents |= {
        "shorter than its header.npz": with_sizes(npz(npy(claim, IMAGES.tobytes())), len(npy(claim)) + 25 * 784),
        "longer than its header.npz": npz(npy(header(shape="(10, 28, 28)"), IMAGES.tobytes())),
        "bzip2.npz": npz(saved(IMAGES), compression=zipfile.ZIP_BZIP2),
        "encrypted.npz": encrypted(good),
        "understated.npz": with_sizes(good, 100),
        "overstated.npz": with_sizes(good, 2**32 - 2),
        "no array.npz": npz(b"text", "text.txt"),
        "newline.npz": npz(saved(IMAGES), "a\nb.npy", "\x1b[31m.npy"),
        "not an array.npz": npz(b"text"),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    for name in ("fifo.npy", "fifo.npz"):
        os.mkfifo(folder / name)
    (folder / "device.npy").symlink_to("/dev/zero")
    return sorted(folder.iterdir())
