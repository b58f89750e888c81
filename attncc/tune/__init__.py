"""The autotuner: what it chooses among, how candidates are tried, and what is reported."""
