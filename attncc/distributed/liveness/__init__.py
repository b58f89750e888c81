"""Which rank died or hangs, when an exchange fails."""
