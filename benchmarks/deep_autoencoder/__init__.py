"""The MNIST deep autoencoder of Hinton & Salakhutdinov (2006) as a benchmark of optimizers; docs/optimizers.md."""
