"""Does long context pay? Small models of every family, at equal parameters and equal tokens; docs/long_context.md.

python -m bench.long_context run       trains what has no result yet, about three hours of two cores
python -m bench.long_context speed     times what has no figure yet
python -m bench.long_context report    writes tables and plots

`applications` says what is learnt, from `text`, `pixels` and `tasks`; `families` what the contestants are, made of
`layers`; `model` and `training` are the same for all of them; `cells` keeps the results.
"""
