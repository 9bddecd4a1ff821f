"""Data parallelism: device mesh, sharding, data loaders, distributed processes."""
