"""The autotuner: what searches for the best configuration of a pattern, a shape and a target."""
