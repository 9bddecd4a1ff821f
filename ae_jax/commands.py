"""The commands, called as `ae-jax COMMAND …`, `python -m ae_jax COMMAND …` or, in a clone, `python scripts/train.py …`.

A command's function is imported when its arguments have been read, so that `--help` and errors do not wait for JAX.
"""

import gc
import logging
import os
import pkgutil
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING
from typing import Literal

from ae_jax.cli import Argument, Command, arguments_of, parse, with_flags
from ae_jax.config import Activation, Output, SharedConfig, SweepConfig, TrainConfig, fast
from ae_jax.errors import InputError, RunError, reason
from ae_jax.system import exit_now, prepare_process, use_compilation_cache

_SHARED = arguments_of(SharedConfig)
_MODEL = "run directory, checkpoint, or pretrained:{linear,conv,conv-pool}"
_RUN = {"run": Argument(_MODEL, MISSING, str)}
_DATA = {
    "dataset": Argument("as for train (default: the run's own)"),
    "data_dir": _SHARED["data_dir"]._replace(group=None),
    "manual_dir": _SHARED["manual_dir"]._replace(group=None),
}
_RECIPES: dict[str, Callable[..., TrainConfig]] = {"tutorial": TrainConfig, "fast": fast}
_RESUME = "resume --run-dir (default: the only run of --arch) from its newest checkpoint"

COMMANDS = {
    "train": Command(
        "Train an MNIST autoencoder.",
        "ae_jax.runs.train:train",
        "Starting JAX and loading images …",
        {
            "recipe": Argument("preset for the settings you leave out", "tutorial", Literal[*_RECIPES], "everyday"),
            "resume": Argument(_RESUME, False, bool, "everyday"),
            **arguments_of(TrainConfig),
        },
        ("train --arch linear --epochs 20", "train --recipe fast", "train --run-dir runs/conv --resume --epochs 20"),
        _RECIPES,
        resume_target="ae_jax.runs.train:resume",
    ),
    "sweep": Command(
        "Train seeds × learning rates × weight decays as one program.",
        "ae_jax.sweep.train:train",
        "Starting JAX and loading images …",
        arguments_of(SweepConfig),
        ("sweep --seeds 8 --learning-rate 1e-3 3e-3 1e-2",),
        {"sweep": SweepConfig},
    ),
    "evaluate": Command(
        "Evaluate the reconstructions and latent codes of a model on all test images.",
        "ae_jax.inspection.evaluate:evaluate_run",
        "Evaluating {run} …",
        {
            **_RUN,
            "json": Argument("JSON file for all metrics (default: none)"),
            "figure": Argument("file for the figure, .png, .svg or .pdf (default: in the run's figures/)"),
            **_DATA,
        },
        ("evaluate runs/conv", "evaluate pretrained:conv --json metrics.json"),
    ),
    "visualize": Command(
        "Draw the latent space of a model: codes, interpolations, traversals and latent grid.",
        "ae_jax.inspection.visualize:visualize_run",
        "Drawing the latent space of {run} …",
        {**_RUN, "out": Argument("directory for the figures (default: the run's figures/)"), **_DATA},
        ("visualize runs/linear",),
    ),
    "explore": Command(
        "Write an interactive page of a model: draw a digit, explore the latent space.",
        "ae_jax.explorer.page:explore_run",
        "Writing a page of {run} …",
        {
            **_RUN,
            "out": Argument("file for the page, .html (default: explorer.html in the run directory)"),
            "open": Argument("open the page in the browser", False, bool),
            **_DATA,
        },
        ("explore runs/conv --open", "explore pretrained:conv --out page.html"),
    ),
    "reconstruct": Command(
        "Encode and decode your own images with a trained model.",
        "ae_jax.inspection.reconstruct:reconstruct_images",
        "Reconstructing {images} …",
        {
            **_RUN,
            "images": Argument(".npy, .npz or .csv file of images, or a PNG or JPEG picture of a digit", MISSING, str),
            "out": Argument("file for the images, .npy or .npz, or a figure, .png, .svg or .pdf (default: none)"),
            "codes": Argument("file for the codes, .npy, or .npz with pooling positions (default: none)"),
        },
        ("reconstruct runs/conv photo.jpg --out result.png", "reconstruct runs/conv digits.npy --codes codes.npy"),
    ),
    "convert": Command(
        "Convert a trained model to a PyTorch state dict, or a state dict to a run.",
        "ae_jax.exchange.torch:convert",
        "Converting {source} …",
        {
            "direction": Argument("what to convert to what", MISSING, Literal["to-torch", "from-torch"]),
            "source": Argument(f"{_MODEL}; from-torch: state dict, .safetensors, .pt or .pth", MISSING, str),
            "target": Argument("output file, .safetensors; from-torch: new run directory", MISSING, str),
            "output": Argument("from-torch: output activation, which the weights do not tell", "sigmoid", Output),
            "activation": Argument("from-torch: activation of the hidden layers, likewise", "relu", Activation),
        },
        ("convert to-torch runs/conv conv.safetensors", "convert from-torch conv.pth runs/imported"),
    ),
    "export": Command(
        "Export a trained model as ONNX graphs, which run without ae_jax.",
        "ae_jax.exchange.onnx:export_run",
        "Exporting {run} …",
        {**_RUN, "out": Argument("new directory for encode.onnx, decode.onnx and reconstruct.onnx", MISSING, str)},
        ("export runs/conv exported",),
    ),
    "share": Command(
        "Make a folder to publish a model: model card, weights, ONNX graphs, figures and explorer.",
        "ae_jax.exchange.share:share_run",
        "Evaluating {run}, to share it …",
        {
            **_RUN,
            "out": Argument("new directory for all of it", MISSING, str),
            "license": Argument("licence of the weights, as Hugging Face names it", "mit", str),
            **_DATA,
        },
        ("share runs/conv shared",),
    ),
}


def main(args: Sequence[str] | None = None, commands: Mapping[str, Command] = COMMANDS, prog: str = "ae-jax") -> None:
    """Run a command as the whole process and exit: 0 done, 1 the run failed, 2 bad input, 130 Ctrl-C, 143 SIGTERM.

    `args` are a command and its arguments, None: those of the process; `prog` is what precedes the command in `--help`.
    """
    prepare_process()  # before imports that take time, so that a signal always ends the process with one line
    gc.set_threshold(50_000)  # JAX keeps what it traces: looking through it again and again takes 0.1 s of a short run
    args = sys.argv[1:] if args is None else args
    code, message = 0, ""
    try:
        call = parse(args, commands, prog)
        if sys.stderr.isatty():
            print(commands[args[0]].doing.format_map(call.arguments), file=sys.stderr, flush=True)
        _prepare_libraries(call.compilation_cache)
        pkgutil.resolve_name(call.target)(**call.arguments)
    except (InputError, RunError) as error:
        code, message = 2 if isinstance(error, InputError) else 1, f"error: {error}"
    except OSError as error:
        code, message = 1, f"error: {error}."
    except Exception as error:
        if not isinstance(error, MemoryError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        advice = "the images and the model must fit into the memory of each device; use fewer images"
        code, message = 1, f"error: out of memory: {advice} ({reason(error)})."
    exit_now(code, with_flags(message, commands.get("".join(args[:1]))))


def _prepare_libraries(compilation_cache: bool) -> None:
    """Set up what the command will use: JAX's compilation cache, the log, progress bars."""
    if compilation_cache:
        use_compilation_cache()
    else:
        os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "0"
    log = logging.getLogger("ae_jax")
    log.addHandler(logging.StreamHandler(sys.stderr))
    log.setLevel(logging.INFO)
    log.propagate = False  # TFDS's absl gives the root logger a handler of its own
    from tqdm import tqdm  # here, as it takes longer than --help

    tqdm.set_lock(threading.RLock())  # instead of a semaphore, which Python reports as leaked at a sudden exit
