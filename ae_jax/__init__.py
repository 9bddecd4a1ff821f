"""MNIST autoencoders in pure-functional JAX.

The import has no side effects and does not import JAX: the names in `__init__.pyi` are loaded lazily on first use, so
that commands parse, or reject, their arguments immediately.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
