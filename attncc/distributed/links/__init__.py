"""Measuring the links between the processes of a host."""
