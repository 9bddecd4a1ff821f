"""How good reconstructions and codes are."""
