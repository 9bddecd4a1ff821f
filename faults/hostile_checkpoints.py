"""Checkpoints with a valid digest whose content is not that of a run."""

import copy
import itertools
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from ae_jax.system.tensorfile import Tensors, read_tensors, write_tensors

Info: TypeAlias = dict[str, Any]
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
    "seconds_in_epoch": ["1", None, -1, float("nan"), float("inf")],
    "shuffle_key_impl": ["rbg", "unknown", None, 3, ""],
}


# Values for any key, none of them a setting with which training would take long.
JUNK: list[Any] = [
    *(None, True, -1, 0, 1, 2.5, 2**31 - 1, 2**31, 2**63, 10**30, 10**400, -(10**400), 1e308, 5e-324),
    *map(float, ("nan", "inf", "-inf")),
    *("", "\x00", "a\tb\r\nc", "\x1b[2J\x9b1m", "\u202egnp", "\ud800", "\udcff"),
    *("x" * 5000, "x" * 5000 + ".npy", "$x_{"),
    *("mnist", "glyphs", "../elsewhere", "../elsewhere.npy", "~nobody/x.npy", "/dev/zero", "/proc/self/mem.npy"),
    *([], {}, [[]] * 3, [None], [{}], {"": None}, {"a\nb": [1, "\x1b"]}, ["x"] * 1000),
]
# Names of further tensors.
NAMES = [
    *("params/", "params//kernel", "params/encoder_0/kernel/x", "run/", "run/x"),
    *("../x", "/x", "a\nb\x1b", "x" * 5000),
]
_NESTING = 900  # of JSON, which Python reads to nearly 1000


class HostileCheckpoint(NamedTuple):
    """The content of a checkpoint, and which use of it must be refused."""

    description: str
    tensors: Tensors
    info: Info
    refused: Literal["always", "resume", "perhaps"] = "perhaps"
    repeats_keys: bool = False  # in its JSON, with other values first

    def write(self, path: Path) -> None:
        """Write the checkpoint, with a valid digest."""
        write_tensors(path, self.tensors, self.info)
        if self.repeats_keys:
            with safe_open(path, framework="np") as file:
                text = file.metadata()["ae_jax"]
            save_file(load_file(path), path, {"ae_jax": '{"record": 3, "history": "x", "sha256": 0, ' + text[1:]})


def hostile_checkpoints(valid: Path, n: int, seed: int) -> Iterator[HostileCheckpoint]:
    """Yield `n` contents, first those that must be refused, then some with random changes of the valid one."""
    rng, (tensors, info) = random.Random(seed), read_tensors(valid)
    twice = HostileCheckpoint("keys twice", tensors, info, repeats_keys=True)
    chosen = itertools.chain([twice], hostile_models(valid), hostile_progress(valid), _nested(tensors, info))
    random_ones = (_randomly_changed(tensors, info, rng) for _ in itertools.count())
    return itertools.islice(itertools.chain(chosen, random_ones), n)


def hostile_models(valid: Path) -> Iterator[HostileCheckpoint]:
    """Checkpoints that no command may accept."""
    tensors, info = read_tensors(valid)
    record = info["record"]
    for what, each in _spoilt_parameters(tensors):
        yield HostileCheckpoint(what, each, info, "always")
    changes = [({**info, name: value}, (name, value)) for name, values in INFO.items() for value in values]
    for name, values in METADATA.items():
        missing = {key: value for key, value in record.items() if key != name}
        changes.append(({**info, "record": missing}, (name, "missing")))
        changes += [({**info, "record": {**record, name: value}}, (name, value)) for value in values]
    for name, values in SETTINGS.items():
        for value in values:
            changes.append(({**info, "record": {**record, "config": {**record["config"], name: value}}}, (name, value)))
    for changed, (name, value) in changes:
        yield HostileCheckpoint(_describe(name, value), tensors, changed, "always")


def hostile_progress(valid: Path) -> Iterator[HostileCheckpoint]:
    """Checkpoints from which no run may be resumed."""
    tensors, info = read_tensors(valid)
    for what, each in _spoilt_progress(tensors):
        yield HostileCheckpoint(what, each, info, "resume")
    for name, values in PROGRESS.items():
        missing = {key: value for key, value in info.items() if key != name}
        yield HostileCheckpoint(f"{name} missing", tensors, missing, "resume")
        for value in values:
            yield HostileCheckpoint(_describe(name, value), tensors, {**info, name: value}, "resume")
    for name in info["history"][0]:
        for value in ("text", None, [1.0], -1, float("nan")):
            if name == "validation_loss" and value is None:  # a run without validation images
                continue
            changed = copy.deepcopy(info)
            changed["history"][0][name] = value
            yield HostileCheckpoint(_describe(f"history: {name}", value), tensors, changed, "resume")


def _spoilt_parameters(tensors: Tensors) -> Iterator[tuple[str, Tensors]]:
    name = next(name for name in tensors if name.startswith("params/"))
    array = tensors[name]
    yield f"{name} NaN", {**tensors, name: np.full_like(array, np.nan)}
    yield f"{name} float64", {**tensors, name: array.astype(np.float64)}
    yield f"{name} empty", {**tensors, name: array[:0]}
    yield f"{name}/more", {**tensors, f"{name}/more": array}
    yield f"{name} missing", {key: value for key, value in tensors.items() if key != name}
    for step in (np.int32(-1), np.float32(np.nan), np.zeros(0, np.int32), np.int64(2**40)):
        yield f"step {step!r}", {**tensors, "step": np.asarray(step)}
    yield "step missing", {key: value for key, value in tensors.items() if key != "step"}


def _spoilt_progress(tensors: Tensors) -> Iterator[tuple[str, Tensors]]:
    for name in ("run/losses", "run/shuffle_key"):
        yield f"{name} missing", {key: value for key, value in tensors.items() if key != name}
        for array in (np.zeros(()), np.zeros(0), np.zeros((2, 2, 2), np.float32), np.zeros(3, np.uint32)):
            yield f"{name} {array.dtype}{array.shape}", {**tensors, name: array}
    yield "run/losses of another rank", {**tensors, "run/losses": tensors["run/losses"][None]}
    yield "run/losses of integers", {**tensors, "run/losses": tensors["run/losses"].astype(np.int32)}
    yield "two shuffle keys", {**tensors, "run/shuffle_key": np.stack([tensors["run/shuffle_key"]] * 2)}
    yield "another step", {**tensors, "step": np.array(3, np.int32)}
    yield "no optimizer state", {key: value for key, value in tensors.items() if not key.startswith("opt_state")}


def _nested(tensors: Tensors, info: Info) -> Iterator[HostileCheckpoint]:
    """Values nested nearly as deep as JSON can be, at each level of the metadata."""
    for keys in [(), ("record",), ("record", "config"), ("record", "versions")]:
        value: Any = 0
        for _ in range(_NESTING):
            value = [value]
        yield HostileCheckpoint(f"{'/'.join(keys)} nested", tensors, _with(info, (*keys, "nested"), value))


def _randomly_changed(tensors: Tensors, info: Info, rng: random.Random) -> HostileCheckpoint:
    changes = []
    for _ in range(rng.randrange(1, 4)):
        if rng.random() < 0.3:
            name = rng.choice([*tensors, *NAMES])
            what, tensors = _changed_tensor(tensors, name, rng)
        else:
            keys = _random_keys(info, rng)
            value = rng.choice(JUNK)
            what, info = _describe("/".join(map(str, keys)), value), _with(info, keys, value)
        changes.append(what)
    return HostileCheckpoint(", ".join(changes), tensors, info)


def _changed_tensor(tensors: Tensors, name: str, rng: random.Random) -> tuple[str, Tensors]:
    array = tensors.get(name, np.zeros(3, np.float32))
    with np.errstate(all="ignore"):
        changed = {
            "as it is": array,
            "empty": array[..., None][:0],
            "transposed": np.ascontiguousarray(array.T),
            "of rank 20": array.reshape(array.shape + (1,) * (20 - array.ndim)),
            **{f"full of {value}": np.full_like(array, value) for value in (0, 1)},
            **{f"full of {value}": np.full_like(array, value, float) for value in (np.nan, np.inf, -1e38)},
            **{dtype: array.astype(dtype) for dtype in ("float16", "float64", "int64", "uint8", "bool")},
        }
    what = rng.choice(["missing", *changed])
    rest = {key: value for key, value in tensors.items() if key != name}
    return f"{name[:20]} {what}", rest if what == "missing" else {**rest, name: changed[what]}


def _random_keys(info: Info, rng: random.Random) -> tuple[Any, ...]:
    """The path of a value in nested dictionaries and lists, or of one that is not there."""
    keys: tuple[Any, ...] = ()
    value: Any = info
    while isinstance(value, dict | list) and value and (not keys or rng.random() < 0.8):
        key = rng.choice([*value, "new"]) if isinstance(value, dict) else rng.randrange(len(value))
        keys, value = (*keys, key), value.get(key) if isinstance(value, dict) else value[key]
    return keys


def _with(info: Info, keys: tuple[Any, ...], value: Any) -> Info:
    """A copy with another value at a path."""
    changed = copy.deepcopy(info)
    parent: Any = changed
    for key in keys[:-1]:
        parent = parent[key]
    parent[keys[-1]] = value
    return changed


def _describe(name: str, value: Any) -> str:
    return f"{name} {ascii(value)[:40]}"
