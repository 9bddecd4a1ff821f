"""The devices that a test needs: a machine may have one GPU."""

import jax
import pytest

needs_cpu = pytest.mark.skipif(jax.default_backend() != "cpu", reason="checks programs, memory or bits of a CPU")


def needs_devices(num_devices: int) -> None:
    """Skip the test where JAX has fewer devices."""
    if num_devices > len(jax.local_devices()):
        pytest.skip(f"needs {num_devices} devices")
