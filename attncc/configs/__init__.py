"""Tuned configurations, and how attention() looks them up: keys, environments, entries, stores, layers, results."""
