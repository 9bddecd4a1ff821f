"""Data parallelism: device mesh, sharded programs, distributed processes."""
