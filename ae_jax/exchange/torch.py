"""`ae-jax convert`: PyTorch state dicts to runs and back; only `.pt` and `.pth` files need PyTorch."""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from jax import numpy as jnp
from safetensors.numpy import load_file, save

from ae_jax.config import Activation, Output, TrainConfig
from ae_jax.errors import InputError, reading
from ae_jax.models.autoencoders import make_model
from ae_jax.models.torch_weights import infer_architecture, params_from_torch, params_to_torch
from ae_jax.parallel.mesh import find_devices
from ae_jax.runs.metadata import FOLDERS, Metadata, imported_metadata
from ae_jax.runs.run_dir import Run, new_dir
from ae_jax.runs.trained import WEIGHTS_FORMAT, TrainedModel, load_model
from ae_jax.system import check_output, write_output
from ae_jax.tensorfile import tensor_bytes
from ae_jax.training.state import create_train_state
from ae_jax.types import StateDict

_ADVICE = "Save model.state_dict() with safetensors.torch.save_file or torch.save."


def convert(direction: Literal["to-torch", "from-torch"], source: str, target: str, **activations: Any) -> None:
    """Convert a run to a state dict by `to_torch`, or a state dict to a run by `from_torch`; they raise the errors."""
    if direction == "to-torch":
        to_torch(source, target)
    else:
        from_torch(source, target, **activations)


def to_torch(run: str, target: str) -> None:
    """Write the weights of a run as a state dict with the parameter names of the PyTorch tutorial, `….safetensors`."""
    check_output(target, "target", (".safetensors",))
    trained = load_model(run)
    write_output(target, save(params_to_torch(trained.model, trained.params), {"format": "pt"}))
    print(f'{target}: model.load_state_dict(safetensors.torch.load_file("{target}"))')
    if trained.model.output == "tanh":
        print("The model ends in Tanh; its inputs and outputs are in [-1, 1].")


def from_torch(source: str, target: str, output: Output = "sigmoid", activation: Activation = "relu") -> None:
    """Import a state dict as a run with no training steps, which every other command accepts."""
    check_output(target, "target")
    find_devices()  # making the parameters is the first use of JAX
    state_dict, prefix = without_prefix(read_state_dict(Path(source)))
    if prefix:
        print(f"All names begin with {prefix!r}, which is left out.")
    arch, inferred = infer_architecture(state_dict)
    model = make_model(arch, output=output, activation=activation, **inferred)
    try:
        params = params_from_torch(model, state_dict)
    except ValueError as error:
        raise InputError(f"{source} fits none of the models; the nearest is {arch}: {error}.") from error
    settings = inferred | {"latent_dim": model.latent_dim, "output": output, "activation": activation}
    try:
        config = TrainConfig(arch=arch, run_dir=target, **settings)
    except InputError as error:
        cause = str(error).replace("`", "").rstrip(".")  # it names a setting, which is no flag of this command
        raise InputError(f"{source} cannot be converted: {cause}; give the weights of a smaller model.") from error
    run = Run(new_dir(target, arch), config, imported_metadata(config, source))
    run.begin(create_train_state(model, jax.random.key(config.seed), params=params), ())
    num_params = sum(leaf.size for leaf in jax.tree.leaves(params))
    print(f"{run.path}: {arch}, latent dimension {model.latent_dim}, {num_params:,} parameters")
    assumed = f"{activation} after hidden layers (--activation), {output} at the end (--output)"
    print(f"Activations, which the weights do not contain: {assumed}")


def read_state_dict(path: Path) -> StateDict:
    """Read a state dict, as NumPy arrays f32[...].

    `InputError` if the file is no mapping from names to finite tensors of floats, or PyTorch is needed and missing.
    """
    if path.suffix not in (".safetensors", ".pt", ".pth"):
        raise InputError(f"{path} must end in .safetensors, .pt or .pth.")
    arrays = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    for name, array in arrays.items():
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise InputError(f"{name} in {path} is {array.dtype}; give weights that are floats.")
        if not np.isfinite(array).all():
            raise InputError(f"{name} in {path} is not finite; give finite weights.")
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def without_prefix(state_dict: StateDict) -> tuple[StateDict, str]:
    """The arrays by names that begin with "encoder" or "decoder", and the prefix, such as "module.", that all had."""
    prefixes = {
        match[1] if (match := re.match(r"((?:.*\.)?)(?:encoder|decoder)\.", name)) else "" for name in state_dict
    }
    prefix = prefixes.pop() if len(prefixes) == 1 else ""
    return {name.removeprefix(prefix): array for name, array in state_dict.items()}, prefix


def weights_bytes(trained: TrainedModel, **metadata: Any) -> bytes:
    """The content of a weights file: parameters under PyTorch's names, and the run's metadata with `metadata` added.

    `safetensors.torch.load_file` reads it for `load_state_dict`, as it reads the files of `convert to-torch`. Equal
    weights give equal bytes.
    """
    run = {**portable_metadata(trained.metadata), "test_mse": trained.test_mse, **metadata}
    state_dict = params_to_torch(trained.model, trained.params)
    return tensor_bytes(state_dict, {"format": WEIGHTS_FORMAT, "step": trained.step, "run": run})


def portable_metadata(metadata: Metadata) -> Metadata:
    """The metadata for others: without folders of the machine that trained, of a file only its name."""
    config = metadata["config"] | dict.fromkeys(FOLDERS)
    config["dataset"] = _without_folder(config["dataset"])
    names = metadata.keys() & {"dataset_used", "imported_from"}
    return {**metadata, "config": config} | {name: _without_folder(metadata[name]) for name in names}


def _without_folder(name: str | None) -> str | None:
    """The name of a file; datasets that are none, such as "emnist/letters", keep theirs."""
    return Path(name).name if name and Path(name).suffix else name


def _read_safetensors(path: Path) -> StateDict:
    with reading(path, _ADVICE):
        arrays = load_file(path)
    if any(name.startswith("params/") for name in arrays):
        raise InputError(f"{path} is already a checkpoint of ae_jax; pass it directly to the other commands.")
    return arrays


def _read_pickle(path: Path) -> StateDict:
    try:
        import torch
    except ImportError as error:
        raise InputError(f"{path} needs PyTorch: pip install torch, or save with safetensors.torch.") from error
    with reading(path, _ADVICE):
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:  # its text suggests weights_only=False, which would run any code
            raise InputError(f"{path} is corrupt or holds more than weights. {_ADVICE}") from error
        for name in ("state_dict", "model_state_dict"):  # of a training checkpoint
            content = content.get(name, content) if isinstance(content, Mapping) else content
        if not (isinstance(content, Mapping) and all(isinstance(value, torch.Tensor) for value in content.values())):
            raise InputError(f"{path} is not a mapping from names to tensors. {_ADVICE}")
        tensors = {str(name): x.float() if x.is_floating_point() else x for name, x in content.items()}
        return {name: x.numpy(force=True) for name, x in tensors.items()}  # which has no bfloat16
