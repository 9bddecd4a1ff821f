"""Type checkers see the signatures of the public functions, compiled ones included."""

import os
import sys
from pathlib import Path

import pytest

PROGRAM = """\
import jax
import numpy as np

import ae_jax

model = ae_jax.ConvAutoencoder(latent_dim=16)
key = jax.random.key(0)
state = ae_jax.create_train_state(model, key, learning_rate=1e-3)
pixels = np.zeros((128, 28, 28, 1), np.uint8)
for images in ae_jax.batches(pixels, key, batch_size=64):
    state, metrics = ae_jax.train_step(state, images)
state, metrics = ae_jax.train_epoch(state, pixels, key, batch_size=32)
step = ae_jax.make_train_step(ae_jax.denoising_loss(0.3))
state, metrics = step(state, images, key=key)
loss: float = float(metrics["loss"] + ae_jax.eval_step(state, images)["loss"])
recons: jax.Array = ae_jax.reconstruct(state, pixels)
layer = ae_jax.Conv(16, kernel_size=(3, 5), stride=2)
y = ae_jax.conv2d(images, jax.numpy.zeros((3, 3, 1, 4)), padding=(1, 0))
print(step.lower(state, images).as_text(), ae_jax.__version__, loss, recons, layer, y)
"""
WRONG = {
    "model = ae_jax.ConvAutoencoder(latent_dim=16)": 'model = ae_jax.ConvAutoencoder(output="Sigmoid")',
    "ae_jax.create_train_state(model, key, learning_rate=1e-3)": "ae_jax.create_train_state(model, 0)",
    "ae_jax.train_step(state, images)": "ae_jax.train_step(images, state)",
    "ae_jax.train_epoch(state, pixels, key, batch_size=32)": "ae_jax.train_epoch(state, pixels, key, batch=32)",
    "ae_jax.make_train_step(ae_jax.denoising_loss(0.3))": 'ae_jax.make_train_step(ae_jax.denoising_loss("0.3"))',
    "step(state, images, key=key)": "step(state, images, key=0)",
    'ae_jax.eval_step(state, images)["loss"]': "ae_jax.eval_step(state, images).loss",
    "ae_jax.reconstruct(state, pixels)": "ae_jax.reconstruct(pixels)",
    "kernel_size=(3, 5)": "kernel_size=(3, 5, 1)",
    "padding=(1, 0)": "padding=1.5",
    "step.lower(state, images)": "step.lower(images)",
}


@pytest.mark.skipif(
    sys.platform == "linux" and not hasattr(os, "sched_getaffinity"), reason="mypy asks for the CPU affinity on Linux"
)
def test_mypy_accepts_a_correct_program_and_finds_wrong_arguments(tmp_path: Path) -> None:
    api = pytest.importorskip("mypy.api")
    wrong = PROGRAM
    for right, mistake in WRONG.items():
        assert PROGRAM.count(right) == 1
        wrong = wrong.replace(right, mistake)
    (tmp_path / "right.py").write_text(PROGRAM)
    (tmp_path / "wrong.py").write_text(wrong)
    files = [str(tmp_path / "right.py"), str(tmp_path / "wrong.py")]
    output, _, _ = api.run(["--strict", "--config-file=", f"--cache-dir={os.devnull}", *files])
    found = {line.split(":")[1] for line in output.splitlines() if "wrong.py" in line and ": error: " in line}
    assert found == {
        str(number) for number, line in enumerate(wrong.splitlines(), 1) if line not in PROGRAM.splitlines()
    }
    assert "right.py" not in output
