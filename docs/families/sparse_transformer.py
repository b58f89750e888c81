from family_pages import Example, Family

N, L, C = 4096, 64, 8

FAMILY = Family(
    plugin="sparse_transformer",
    title="Sparse Transformer",
    paper="Child, Gray, Radford, Sutskever (2019), *Generating Long Sequences with Sparse Transformers*, section 4.2.",
    definition="""
Factorised attention: each of p = 2 steps connects a query to about √N keys, and two steps connect it to all that came
before.

- *Strided*: A_i^(1) = {t, t + 1, ..., i} for t = max(0, i − l), and A_i^(2) = {j : (i − j) mod l = 0}.
- *Fixed*: A_i^(1) = {j : ⌊j / l⌋ = ⌊i / l⌋}, and A_i^(2) = {j : j mod l ∈ {l − c, ..., l − 1}}.
""",
    text="""
The paper's window holds **l + 1** positions, from i − l to i. Its last one is also in the column of step l.
""",
    examples=(
        Example(
            "strided",
            {"l": L},
            N,
            "window (l + 1) N − l (l + 1) / 2; columns beyond it, l n (n − 1) / 2 for n = N / l − 1",
            (L + 1) * N - L * (L + 1) // 2 + L * (N // L - 1) * (N // L - 2) // 2,
        ),
    ),
    drawn=(("strided", {"l": 12}), ("fixed", {"l": 16, "c": 3})),
)
