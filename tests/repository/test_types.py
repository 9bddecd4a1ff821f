"""Type checkers see the signatures of the public classes and functions, but for those that `jax.jit` wraps."""

import os
import sys
from pathlib import Path

import pytest

PROGRAM = """\
import jax, numpy as np, ae_jax
model = ae_jax.ConvAutoencoder(latent_dim=16)
key = jax.random.key(0)
state = ae_jax.create_train_state(model, key, learning_rate=1e-3)
pixels = np.zeros((128, 28, 28, 1), np.uint8)
for images in ae_jax.batches(pixels, key, batch_size=64):
    state, metrics = ae_jax.train_step(state, images)
state, losses = ae_jax.fit(state, pixels, key, num_epochs=2)
ae_jax.load_pretrained("conv").encode(pixels)
y = ae_jax.conv2d(images, jax.numpy.zeros((3, 3, 1, 4)), padding=(1, 0))
"""
WRONG = {
    "model = ae_jax.ConvAutoencoder(latent_dim=16)": 'model = ae_jax.ConvAutoencoder(output="Sigmoid")',
    "create_train_state(model, key, learning_rate=1e-3)": "create_train_state(model, 0)",
    "batches(pixels, key, batch_size=64)": "batches(pixels, key, batch=64)",
    "num_epochs=2": "epochs=2",
    ".encode(pixels)": ".encodes(pixels)",
    "padding=(1, 0)": "padding=1.5",
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
