"""The planner: predicate -> clauses -> layouts -> tiles -> plan."""
