"""Pictures of connectivity: characters for the terminal, and PNG files."""
