import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np

import ae_jax
from tests.conftest import ROOT
from tests.support.outcomes import largest_difference
from tests.support.training import train


def test_with_jax_enable_x64_training_stays_in_float32_and_checkpoints_are_exchanged(tmp_path: Path) -> None:
    state, own, other = train(), tmp_path / "float32.safetensors", tmp_path / "x64.safetensors"
    ae_jax.save_checkpoint(own, state)
    command = [sys.executable, "-m", "tests.support.training", own, other]
    subprocess.run(command, env=os.environ | {"JAX_ENABLE_X64": "1"}, cwd=ROOT, check=True)
    exchanged = ae_jax.load_checkpoint(other, like=state)
    assert largest_difference(exchanged.opt_state, state.opt_state) <= 1e-8  # averages of gradients, which round alike
    # Adam divides each gradient by its own size: of those near 0, rounding decides a step of up to the learning rate.
    differences = jax.tree.map(lambda a, b: np.ravel(np.asarray(a) - b), exchanged.params, state.params)
    assert np.abs(np.concatenate(jax.tree.leaves(differences))).mean() <= 1e-6
