"""Pure training functions: losses, train state, steps and epochs, and the checkpoint file format."""
