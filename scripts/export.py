"""Export a model to run without this package: python scripts/export.py runs/conv exported.

python -c "import jax, numpy as np; from jax import export
print(export.deserialize(open('exported/encode.stablehlo', 'rb').read()).call(np.zeros((5, 28, 28, 1), 'float32')))"
"""

from ae_jax.commands import export, run

if __name__ == "__main__":
    run(export)
