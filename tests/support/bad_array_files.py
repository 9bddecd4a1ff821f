"""Invalid array files, each with the error message that it must cause."""

from pathlib import Path

import numpy as np


def bad_array_files(folder: Path) -> dict[str, tuple[Path, str]]:
    good = np.zeros((20, 28, 28), np.uint8)
    arrays = {
        "shape": (np.zeros((20, 32, 32), np.uint8), r"uint8\[20, 32, 32\]; images must be uint8\[n, 28, 28\]"),
        "dtype": (good.astype(np.float32), r"float32\[20, 28, 28\]; images must be"),
        "none": (good[:0], r"uint8\[0, 28, 28\]; images must be"),
        "one": (good[:1], "at least two"),
        "scalar": (np.uint8(3), r"uint8\[\]; images must be"),
        "pickled": (np.array([{"a": 1}]), "cannot be read as arrays without pickle: it holds Python objects"),
    }
    files = {}
    for name, (array, message) in arrays.items():
        np.save(folder / f"{name}.npy", array)
        files[name] = (folder / f"{name}.npy", message)
    np.save(folder / "whole.npy", good)
    np.savez(folder / "whole.npz", images=good)
    np.savez(folder / "names.npz", a=good, b=good)
    np.savez(folder / "labels.npz", images=good, labels=np.zeros(3, int))
    (folder / "text.npy").write_text("not an array")
    (folder / "empty.npy").touch()
    (folder / "empty.npz").touch()
    (folder / "folder.npy").mkdir()
    (folder / "version.npy").write_bytes(b"\x93NUMPY\x09\x09" + bytes(100))
    for suffix in ("npy", "npz"):
        content = (folder / f"whole.{suffix}").read_bytes()
        (folder / f"truncated.{suffix}").write_bytes(content[: len(content) // 2])
    return files | {
        "names": (folder / "names.npz", "holds a, b; name the image array 'images'"),
        "labels": (folder / "labels.npz", r"labels int64\[3\]; for 20 images they must be int\[20\]"),
        "missing": (folder / "missing.npy", "does not exist"),
        **{
            name: (folder / name, "cannot be read as arrays")
            for name in ("text.npy", "empty.npy", "empty.npz", "folder.npy", "truncated.npz")
        },
        "truncated.npy": (folder / "truncated.npy", "it is shorter than its header says"),
        "version.npy": (folder / "version.npy", r"its version \(9, 9\) is none of arrays of numbers"),
    }
