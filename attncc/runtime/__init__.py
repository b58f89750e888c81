"""What a call does: its arguments, torch's operators, and the executable that is looked up for it."""
