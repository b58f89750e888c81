"""What a schedule would take on a topology, beside known ways; and the choice between schedules."""
