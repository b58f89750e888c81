"""What users declare: patterns and scores, the language they are written in, and the catalogue that finds them."""
