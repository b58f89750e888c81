"""Schedules run on torch.distributed, forward and backward."""
