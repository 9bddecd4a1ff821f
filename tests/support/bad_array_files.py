"""Invalid array files, each with the error message that it must cause."""

from pathlib import Path

import numpy as np


def bad_array_files(folder: Path) -> dict[str, tuple[Path, str]]:
    good, labels = np.zeros((20, 28, 28), np.uint8), np.arange(20)
    contents = {
        "shape.npy": (np.zeros((20, 32, 32), np.uint8), r"the shape \[20, 32, 32\]; images must be \[n, 28, 28\] or"),
        "binary.npy": (
            good + np.uint8(1),
            r"uint8 from 1 to 1; .* save numpy\.rint\(images \* 255\.0\)\.astype\('uint8'\)",
        ),
        "unit.npy": (good + 0.5, r"float64 from 0\.5 to 0\.5; .* save numpy\.rint\(images \* 255\.0\)"),
        "tanh.npy": (good - np.float32(1), r"float32 from -1 to -1; .* save numpy\.rint\(\(images \+ 1\) \* 127\.5\)"),
        "integers.npy": (
            good.astype(int) + 200,
            r"int64 from 200 to 200; pixels must be uint8 .* save numpy\.rint\(images\)",
        ),
        "range.npy": (good.astype(int) + 300, r"int64 from 300 to 300; pixels must be uint8 from 0 to 255\."),
        "array.npz": ({"x_train": good + 0.5, "x_test": good}, r"x_train in .*array\.npz is float64"),
        "none.npy": (good[:0], r"the shape \[0, 28, 28\]; images must be"),
        "one.npy": (good[:1], "holds one image; at least two are needed"),
        "scalar.npy": (np.uint8(3), r"the shape \[\]; images must be"),
        "pickled.npy": (np.array([{"a": 1}]), r"cannot be read: .*allow_pickle=False.*numpy\.stack\(images\)"),
        "names.npz": ({"a": good, "b": good}, "holds a, b; name the image array 'images'"),
        "pickled.npz": (
            {"images": np.array([{"a": 1}])},
            r"cannot be read: .*allow_pickle=False.*numpy\.stack\(images\)",
        ),
        "few labels.npz": (
            {"images": good, "labels": labels[:3]},
            r"labels int64\[3\]; for 20 images they must be int",
        ),
        "float labels.npz": ({"images": good, "labels": labels / 2}, r"labels float64\[20\]; for 20 images"),
        "large labels.npz": ({"images": good, "labels": labels + 2**31}, "must fit into 32 bits"),
    }
    for name, (content, _) in contents.items():
        np.savez(folder / name, **content) if isinstance(content, dict) else np.save(folder / name, content)
    unreadable = r"cannot be read: .* Save one array: numpy\.save"
    (folder / "text.npy").write_text("not an array")
    (folder / "empty.npz").touch()
    (folder / "folder.npy").mkdir()
    np.save(folder / "truncated.npy", good)
    np.savez(folder / "truncated.npz", images=good)
    for name in ("truncated.npy", "truncated.npz"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])
    names = ("text.npy", "empty.npz", "folder.npy", "truncated.npy", "truncated.npz", "missing.npy")
    files = {name: message for name, (_, message) in contents.items()} | dict.fromkeys(names, unreadable)
    return {name: (folder / name, message) for name, message in files.items()}
