"""What a schedule would take on a topology, beside baselines; and the choice between schedules."""
