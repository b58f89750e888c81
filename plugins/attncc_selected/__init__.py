"""Keys that a model selects: blocks and tokens by scores."""
