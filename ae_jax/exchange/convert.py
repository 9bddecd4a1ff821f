"""`ae-jax convert`: convert a run to a PyTorch state dict, or a state dict to a run."""

from pathlib import Path

import jax
from safetensors.numpy import save

from ae_jax.choices import Output
from ae_jax.config import TrainConfig
from ae_jax.errors import InputError
from ae_jax.exchange.config import ConvertConfig
from ae_jax.exchange.torch_files import read_state_dict
from ae_jax.models.autoencoders import make_model
from ae_jax.models.torch_weights import infer_architecture, params_from_torch, params_to_torch
from ae_jax.parallel.mesh import find_devices
from ae_jax.runs.checkpoints import save_imported
from ae_jax.runs.load import load_model
from ae_jax.runs.metadata import imported_metadata
from ae_jax.runs.run_dir import check_run_dir_is_free, new_run_dir, write_metadata
from ae_jax.runs.setup import initial_state
from ae_jax.system.outputs import write_output


def convert(config: ConvertConfig) -> None:
    """Convert in the given direction.

    Raises:
      InputError: the source cannot be read or fits none of the models, or the target already exists.
      RunError: the target cannot be written.
    """
    if config.direction == "to-torch":
        to_torch(config.source, config.target)
    else:
        from_torch(config.source, config.target, config.output)


def to_torch(run: str, target: str) -> None:
    """Write the weights of a run as a state dict with the parameter names of the PyTorch tutorial."""
    trained = load_model(run)
    write_output(target, save(params_to_torch(trained.model, trained.params), {"format": "pt"}))
    print(f'{target}: model.load_state_dict(safetensors.torch.load_file("{target}"))')
    if trained.config.output == "tanh":
        print("The model ends in Tanh; its inputs and outputs are in [-1, 1].")


def from_torch(source: str, target: str, output: Output) -> None:
    """Import a state dict as a run with no training steps, which every other command accepts."""
    find_devices()  # making the parameters is the first use of JAX
    state_dict = read_state_dict(Path(source))
    arch, latent_dim = infer_architecture(state_dict)
    model = make_model(arch, latent_dim, output)
    try:
        params = params_from_torch(model, state_dict)
    except ValueError as error:
        raise InputError(f"{source} fits none of the models; for {arch}, {error}.") from error
    config = TrainConfig(arch, latent_dim, output, run_dir=target)
    metadata = imported_metadata(config, source)
    try:
        check_run_dir_is_free(Path(target))
    except InputError as error:
        raise InputError(f"{target} already exists, and nothing is overwritten; choose another directory.") from error
    with new_run_dir(config.run_dir, config.arch) as run_dir:
        state = initial_state(config, jax.random.key(config.seed), num_steps=1, params=params)
        save_imported(run_dir, state, metadata)
        write_metadata(run_dir, metadata)
    num_params = sum(array.size for array in state_dict.values())
    print(f"{target}: {arch}, {latent_dim}-dimensional latent code, {num_params:,} parameters")
