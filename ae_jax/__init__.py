"""MNIST autoencoders in pure-functional JAX.

Importing this touches no file, no network and no device, and imports no JAX: each of the names listed in `__init__.pyi`
brings its module when it is first used, so that a command line is read, or refused, at once.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
