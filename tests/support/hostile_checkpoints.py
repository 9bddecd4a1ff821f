"""Checkpoints with a valid digest whose content is not that of a run."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from ae_jax.system.tensorfile import read_tensors, write_tensors

Content = tuple[dict[str, np.ndarray], dict[str, Any]]
SETTINGS: dict[str, list[Any]] = {
    "arch": ["unknown", 3, ["conv"], "a\nb"],
    "latent_dim": [10**9, -1, "3", 2.5, True, [3]],
    "epochs": [10**30, 0, "3", None, float("nan")],
    "seed": ["0", -1, 2**32, 1.5],
    "learning_rate": ["0.1", float("inf"), float("nan"), 10**400, None],
    "noise": [float("nan"), "\x1b[31m", -1],
    "batch_size": [10**30, 0, {}],
    "checkpoint_every": [[], {}, "-1"],
    "devices": ["all", -1, []],
    "dataset": [3, None],
    "beta1": [10**400, 1],
    "keep": [10**30],
    "data_dir": [3],
    "unheard_of": [1],
}
METADATA: dict[str, list[Any]] = {
    "config": [None, [], "text"],
    "dataset_used": [3, [], "a\x1b[31m"],
    "dataset_sha256": [3],
    "devices_used": ["cpu", [3]],
    "versions": [None, [], {"jax": 3}],
    "resumed": [None, {}, [3], [{}]],
}
INFO: dict[str, list[Any]] = {"format": ["ae_jax/2", ["ae_jax/1"], "a\nb" * 1000], "record": [None, [], "text", 3]}
PROGRESS: dict[str, list[Any]] = {
    "history": [None, {}, [3], [{}], [{"epoch": 1}], "text"],
    "epochs": ["1", -1, 10**30, None],
    "steps_in_epoch": ["1", -1, 10**30, None, 1.5],
    "seconds_in_epoch": ["1", None],
    "shuffle_key_impl": ["unknown", None, 3, ""],
}


def spoilt_parameters(tensors: dict[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
    name = next(name for name in tensors if name.startswith("params/"))
    array = tensors[name]
    yield {**tensors, name: np.full_like(array, np.nan)}
    yield {**tensors, name: array.astype(np.float64)}
    yield {**tensors, name: array[:0]}
    yield {**tensors, f"{name}/more": array}
    yield {key: value for key, value in tensors.items() if key != name}
    for step in (np.int32(-1), np.float32(np.nan), np.zeros(0, np.int32), np.int64(2**40)):
        yield {**tensors, "step": np.asarray(step)}
    yield {key: value for key, value in tensors.items() if key != "step"}


def spoilt_progress(tensors: dict[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
    for name in ("run/losses", "run/shuffle_key"):
        yield {key: value for key, value in tensors.items() if key != name}
        for array in (np.zeros(()), np.zeros(0), np.zeros((2, 2, 2), np.float32), np.zeros(3, np.uint32)):
            yield {**tensors, name: array}
    yield {**tensors, "step": np.array(3, np.int32)}
    yield {key: value for key, value in tensors.items() if not key.startswith("opt_state")}


def hostile_models(valid: Path) -> Iterator[Content]:
    """Checkpoints that no command may accept."""
    tensors, info = read_tensors(valid)
    record = info["record"]
    yield from ((each, info) for each in spoilt_parameters(tensors))
    yield from ((tensors, {**info, name: value}) for name, values in INFO.items() for value in values)
    for name, values in METADATA.items():
        yield tensors, {**info, "record": {key: value for key, value in record.items() if key != name}}
        yield from ((tensors, {**info, "record": {**record, name: value}}) for value in values)
    for name, values in SETTINGS.items():
        for value in values:
            yield tensors, {**info, "record": {**record, "config": {**record["config"], name: value}}}


def hostile_progress(valid: Path) -> Iterator[Content]:
    """Checkpoints from which no run may be resumed."""
    tensors, info = read_tensors(valid)
    yield from ((each, info) for each in spoilt_progress(tensors))
    for name, values in PROGRESS.items():
        yield tensors, {key: value for key, value in info.items() if key != name}
        yield from ((tensors, {**info, name: value}) for value in values)
    for name in info["history"][0]:
        for value in ("text", None, [1.0]):
            if name == "validation_loss" and value is None:  # a run without validation images
                continue
            changed = copy.deepcopy(info)
            changed["history"][0][name] = value
            yield tensors, changed


def write(path: Path, content: Content) -> None:
    """Replace a checkpoint, with a valid digest."""
    write_tensors(path, *content)


def hostile_headers() -> Iterator[bytes]:
    """safetensors files with hostile headers."""
    body = np.zeros(4, np.float32).tobytes()
    for dtype in ("BF16", "F8_E4M3", "BOOL", "U64", "C64", "F4", "nothing"):
        header = {"x": {"dtype": dtype, "shape": [4], "data_offsets": [0, 16]}}
        yield _file(json.dumps(header).encode(), body)
    for shape in ([10**12], [2**63, 2**63], [-1], [0, 10**30], [1] * 100, "x"):
        yield _file(json.dumps({"x": {"dtype": "F32", "shape": shape, "data_offsets": [0, 16]}}).encode(), body)
    yield _file(b"[" * 100_000, body)
    yield (10**18).to_bytes(8, "little") + body
    yield save({"x": np.zeros(1)}, {"ae_jax": "[" * 100_000})
    yield save({"x": np.zeros(1)}, {"ae_jax": '{"sha256": ' + "9" * 5000 + "}"})
    yield save({"x": np.zeros(1)}, {"ae_jax": '{"sha256": "x", "a": ' + "[" * 900 + "]" * 900 + "}"})


def _file(header: bytes, body: bytes) -> bytes:
    return len(header).to_bytes(8, "little") + header + body
