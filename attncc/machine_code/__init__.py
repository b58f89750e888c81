"""Compiled kernels, read without the GPU they are for: loops, instructions by kind, resources, predicted throughput."""
