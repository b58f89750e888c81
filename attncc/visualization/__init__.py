"""Pictures and reports: the connectivity of patterns, and the schedules of topologies."""
