"""DeviceBinding: array programs over torch that make layouts and work lists of tables where these lie.

Shapes depend on lengths alone, so that no program waits for the host, and compilers can trace each of them.
"""
