"""Partitioned schedules: one pattern, many devices, exactly the rows that each of them needs."""
