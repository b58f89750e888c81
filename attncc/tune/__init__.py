"""The autotuner: search spaces, trials measured or modelled, and the search for the best configuration."""
