"""What every layer may use: caches in memory, files on disk, locks, facts of the machine."""
