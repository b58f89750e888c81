"""What is remembered of tuning, and how attention() finds it: keys, environments, entries, stores, layers, look-up."""
