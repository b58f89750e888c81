"""Schedules, tuned: by simulation on a topology that needn't be here, or by measuring on the ranks of one that is."""
