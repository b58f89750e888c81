"""What layers of models compute, as functions of queries, keys and values; the families' plugins use them, too."""
