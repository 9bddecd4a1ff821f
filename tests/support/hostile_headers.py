"""Files in the safetensors format whose headers are hostile."""

import json
from collections.abc import Iterator

import numpy as np
from safetensors.numpy import save


def hostile_headers() -> Iterator[bytes]:
    """Headers with types and shapes that the body does not have, nested too deeply, or of absurd length."""
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
