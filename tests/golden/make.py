"""Make the golden numbers beside this file: `pip install torch==2.13.0 && python -m tests.golden.make`."""

from pathlib import Path

import torch
from safetensors.numpy import save_file

from tests.support.torch_case import make_case
from tests.support.torch_reference import make_reference

if __name__ == "__main__":
    for arch in ("linear", "conv", "conv-pool"):
        reference = make_reference(arch, *make_case(arch))
        assert reference["relu_margin"] > 1e-4, "choose another seed: see tests/support/torch_case.py"
        metadata = {"made_by": f"tests/golden/make.py with torch {torch.__version__}"}
        save_file(reference, Path(__file__).with_name(f"{arch}.safetensors"), metadata)
