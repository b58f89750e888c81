"""The intermediate representation: integer expressions (sympy) and predicates over positions."""
