"""attention(): shapes, dtypes, options, autograd, torch.compile, autocast, and refusals."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

import attncc
from attncc.backends.reference.mask import as_broadcast
from attncc.errors import AttnccError, BackendError, ConfigError, ShapeError, TableError
from attncc.frontend.language import Index
from attncc.ir.symbols import J
from attncc.testing import check_attention
from attncc.testing.oracle import Problem

STRIDED = attncc.load("strided", l=8)
PATTERNS = {
    "window": attncc.load("sliding_window", window=20),
    "strided": STRIDED,
    "fixed": attncc.load("fixed", l=16, c=3),
    "dilated": attncc.load("dilated_window", window=9, dilation=5),
    "prefix": attncc.load("prefix", length=30),
    "full": attncc.load("full"),
    "blocks": attncc.load("block_diagonal", block=24),
    "documents": attncc.load("document", ids=torch.arange(400) // 37).causal(),
    "buckets": attncc.load("document", ids=torch.arange(400) * 7919 % 11),
    "heads": attncc.per_head([attncc.load("causal"), attncc.load("sliding_window", window=5)]),
    "nothing for some": ~attncc.load("prefix", length=90),
}


def tensors(n: int = 40, heads: int = 2, dim: int = 8, **options) -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(2, heads, n, dim, **options) for _ in range(3)]


def check(pattern: attncc.Pattern, q_len: int, kv_len: int, *, q_offset: int = 0, backend=None, **sizes) -> None:
    problem = Problem.drawn(q_len, kv_len, **sizes)
    batch, heads = problem.query.shape[:2]
    mask = attncc.dense_mask(pattern, q_len, kv_len, q_offset=q_offset, heads=heads, batch=batch)
    check_attention(pattern, as_broadcast(mask, pattern), problem, q_offset=q_offset, backend=backend)


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("length", [1, 2, 127, 129, 300])
def test_every_length_agrees_with_the_oracle(name: str, length: int) -> None:
    check(PATTERNS[name], length, length, heads=2, kv_heads=2, batch=2)


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize(("q_len", "kv_len", "q_offset"), [(1, 300, 299), (37, 200, 150), (200, 37, 0), (64, 330, 266)])
def test_query_and_key_lengths_may_differ(name: str, q_len: int, kv_len: int, q_offset: int) -> None:
    check(PATTERNS[name], q_len, kv_len, q_offset=q_offset, heads=2, kv_heads=1)


@pytest.mark.parametrize("head_dim", [1, 8, 40, 64, 80, 128, 256])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_every_head_size_agrees_with_the_oracle(head_dim: int, dtype: torch.dtype) -> None:
    check(STRIDED, 113, 113, head_dim=head_dim, value_dim=head_dim, dtype=dtype)


@pytest.mark.parametrize(("head_dim", "value_dim"), [(8, 24), (24, 8), (1, 3), (64, 1)])
def test_value_heads_may_have_another_size(head_dim: int, value_dim: int) -> None:
    check(STRIDED, 129, 129, head_dim=head_dim, value_dim=value_dim)


@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 1), (4, 2), (6, 3)])
@pytest.mark.parametrize("name", ["strided", "heads", "documents"])
def test_grouped_queries_agree_with_the_oracle(name: str, heads: int, kv_heads: int) -> None:
    check(PATTERNS[name], 130, 130, heads=heads, kv_heads=kv_heads, batch=2)


@pytest.mark.parametrize("name", PATTERNS)
def test_the_reference_agrees_with_the_oracle(name: str) -> None:
    check(PATTERNS[name], 65, 65, heads=2, kv_heads=1, backend="reference")


def test_causal_attention_agrees_with_pytorch() -> None:
    q, k, v = tensors(200)
    torch.testing.assert_close(
        attncc.attention(q, k, v, attncc.load("causal")), scaled_dot_product_attention(q, k, v, is_causal=True)
    )


def test_empty_rows_give_zero_and_minus_infinity() -> None:
    q, k, v = tensors()
    from_ten = attncc.Pattern([(Index.of(J) >= 10).predicate], "from ten")
    nothing = attncc.load("sliding_window", window=3) & from_ten
    out, lse = attncc.attention(q, k, v, nothing, scale=0.3, return_lse=True)
    assert (out[:, :, :10] == 0).all()
    assert (lse[:, :, :10] == -math.inf).all()
    scores = (q[0, 0, 12] * 0.3) @ k[0, 0, 10:13].T
    torch.testing.assert_close(lse[0, 0, 12], torch.logsumexp(scores, 0))
    assert lse.dtype == torch.float32


def test_inputs_need_not_be_contiguous() -> None:
    q, k, v = (x.transpose(1, 2).contiguous().transpose(1, 2) for x in tensors(130))
    reversed_heads = [x.flip(1)[:, ::1] for x in (q, k, v)]
    expanded = [x[:, :1].expand(-1, 2, -1, -1) for x in (q, k, v)]
    for inputs in ((q, k, v), reversed_heads, expanded):
        torch.testing.assert_close(
            attncc.attention(*inputs, STRIDED), attncc.attention(*(x.contiguous() for x in inputs), STRIDED)
        )


def test_gradients_pass_gradcheck() -> None:
    inputs = [x.double().requires_grad_() for x in tensors(19, dim=3)]
    for pattern in (STRIDED, PATTERNS["nothing for some"], PATTERNS["heads"]):
        torch.autograd.gradcheck(lambda *x, p=pattern: attncc.attention(*x, p), inputs)
    seen = attncc.load("causal")
    torch.autograd.gradcheck(lambda *x: attncc.attention(*x, seen, return_lse=True), inputs)


def test_gradients_may_be_needed_for_some_inputs_only() -> None:
    q, k, v = tensors()
    v.requires_grad_()
    attncc.attention(q, k, v, STRIDED).sum().backward()
    assert v.grad is not None
    assert q.grad is None


def test_torch_compile_has_no_graph_break() -> None:
    torch._dynamo.reset()

    @torch.compile(fullgraph=True, backend="aot_eager")
    def block(q, k, v):
        return attncc.attention(q * 2, k, v, STRIDED).sin()

    inputs = [x.requires_grad_() for x in tensors()]
    found, wanted = block(*inputs), attncc.attention(inputs[0] * 2, *inputs[1:], STRIDED).sin()
    torch.testing.assert_close(found, wanted)
    for a, b in zip(torch.autograd.grad(found.sum(), inputs), torch.autograd.grad(wanted.sum(), inputs), strict=True):
        torch.testing.assert_close(a, b)


def test_the_operator_passes_opcheck() -> None:
    q, k, v = tensors(20)
    arguments = (q, k, v, 0.25, STRIDED.handle, "", 0, "torch", "")
    torch.library.opcheck(torch.ops.attncc.attention.default, arguments, test_utils=("test_schema", "test_faketensor"))
    shapes = torch.ops.attncc.attention(*(x.to("meta") for x in (q, k, v)), 0.25, STRIDED.handle, "", 0, "torch", "")
    assert [x.shape for x in shapes] == [q.shape, q.shape[:-1]]


def test_autocast_computes_in_the_lower_precision() -> None:
    q, k, v = tensors()
    with torch.autocast("cpu", torch.bfloat16):
        assert attncc.attention(q, k, v, STRIDED).dtype == torch.bfloat16
        assert attncc.attention(q.double(), k.double(), v.double(), STRIDED).dtype == torch.float64
    mixed = q.bfloat16(), k, v
    with torch.autocast("cpu", torch.bfloat16):
        attncc.attention(*mixed, STRIDED)


def test_second_calls_plan_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = tensors(77)
    attncc.attention(*inputs, attncc.load("strided", l=11))

    def planned(*arguments: object) -> None:
        raise AssertionError("planned again")

    monkeypatch.setattr("attncc.runtime.executables.plan_for", planned)
    attncc.attention(*inputs, attncc.load("strided", l=11))


def test_compile_plans_ahead() -> None:
    op = attncc.compile(STRIDED, 40, heads=2, batch=2, return_lse=True)
    assert op.plan is not None
    assert op.plan.shape.q_len == 40
    out, lse = op(*tensors())
    torch.testing.assert_close(out, attncc.attention(*tensors(), STRIDED))
    assert attncc.compile(attncc.factory("causal")).plan is None
    assert lse.shape == (2, 2, 40)


def test_inputs_without_queries_or_keys_give_zeros() -> None:
    q, k, v = tensors()
    out, lse = attncc.attention(q[:, :, :0], k, v, STRIDED, return_lse=True)
    assert out.shape == (2, 2, 0, 8)
    assert lse.shape == (2, 2, 0)
    out = attncc.attention(q.requires_grad_(), k[:, :, :0], v[:, :, :0], STRIDED)
    assert (out == 0).all()
    out.sum().backward()
    assert (q.grad == 0).all()


Q, K, V = tensors()
REFUSED = {
    "one dimension too few": (lambda: attncc.attention(Q[0], K[0], V[0], STRIDED), ShapeError, r"\(B, H, N, D\)"),
    "other key length": (lambda: attncc.attention(Q, K[:, :, :3], V, STRIDED), ShapeError, "agree"),
    "other head size": (lambda: attncc.attention(Q, K[..., :3], V, STRIDED), ShapeError, "agree"),
    "other batch": (lambda: attncc.attention(Q[:1], K, V, STRIDED), ShapeError, "agree"),
    "other dtype": (lambda: attncc.attention(Q, K.double(), V, STRIDED), ShapeError, "one dtype"),
    "other device": (lambda: attncc.attention(Q, K.to("meta"), V, STRIDED), ShapeError, "one device"),
    "integers": (lambda: attncc.attention(*(x.long() for x in (Q, K, V)), STRIDED), ShapeError, "floating-point"),
    "groups": (lambda: attncc.attention(Q, K[:, :1], V[:, :1], STRIDED), ShapeError, "enable_gqa=True"),
    "odd groups": (
        lambda: attncc.attention(torch.randn(2, 3, 40, 8), K, V, STRIDED, enable_gqa=True),
        ShapeError,
        "3 query heads on 2 key heads",
    ),
    "NaN scale": (lambda: attncc.attention(Q, K, V, STRIDED, scale=math.nan), ShapeError, "finite"),
    "infinite scale": (lambda: attncc.attention(Q, K, V, STRIDED, scale=math.inf), ShapeError, "finite"),
    "tensor scale": (lambda: attncc.attention(Q, K, V, STRIDED, scale="big"), ShapeError, "finite"),
    "negative offset": (lambda: attncc.attention(Q, K, V, STRIDED, q_offset=-(2**31)), ShapeError, "above -2"),
    "unknown backend": (lambda: attncc.attention(Q, K, V, STRIDED, backend="tourch"), BackendError, "'torch'"),
    "unknown config": (lambda: attncc.attention(Q, K, V, STRIDED, config={"chunks": 3}), ConfigError, "forward.chunk"),
    "bad config": (lambda: attncc.attention(Q, K, V, STRIDED, config={"forward.chunk": 0}), ConfigError, "at least 1"),
    "text in config": (
        lambda: attncc.attention(Q, K, V, STRIDED, config={"forward.chunk": "big"}),
        ConfigError,
        "integer",
    ),
    "reference config": (
        lambda: attncc.attention(Q, K, V, STRIDED, backend="reference", config={"chunk": 3}),
        ConfigError,
        "no configuration",
    ),
    "not a mapping": (lambda: attncc.attention(Q, K, V, STRIDED, config=3), ConfigError, "mapping"),
    "not a tensor": (lambda: attncc.attention(Q.numpy(), K, V, STRIDED), ShapeError, "query is a ndarray"),
    "sparse": (lambda: attncc.attention(Q, K.to_sparse(), V, STRIDED), ShapeError, "key is a tensor with layout"),
    "learned scale": (lambda: attncc.attention(Q, K, V, STRIDED, scale=torch.ones(())), ShapeError, "Multiply"),
    "not a name": (lambda: attncc.attention(Q, K, V, STRIDED, backend=3), BackendError, "backend=3"),
    "table of a larger batch": (
        lambda: attncc.attention(Q, K, V, attncc.load("document", ids=torch.zeros(3, 40, dtype=torch.long))),
        TableError,
        "3 batch entries, the tensors have 2",
    ),
    "short table": (lambda: attncc.attention(Q, K, V, attncc.load("document", ids=[1, 2])), TableError, "40 entries"),
    "not a pattern": (lambda: attncc.attention(Q, K, V, "causal"), attncc.PatternError, "not a pattern"),
    "vmap": (lambda: torch.vmap(lambda q: attncc.attention(q, K, V, STRIDED))(Q[None]), AttnccError, "torch.vmap"),
    "second derivative": (
        lambda: torch.autograd.grad(_gradient().sum(), Q, allow_unused=True),
        AttnccError,
        "first derivatives only",
    ),
}


def _gradient() -> torch.Tensor:
    Q.requires_grad_()
    return torch.autograd.grad(attncc.attention(Q, K, V, STRIDED).pow(2).sum(), Q, create_graph=True)[0]


def test_later_changes_to_a_configuration_have_no_effect() -> None:
    config: dict[str, object] = {"forward.plan": "fused"}
    attend = attncc.compile(STRIDED, config=config)
    before = attend.planned(Q, K, V)
    config["forward.plan"] = "split"
    assert attend.planned(Q, K, V) == before
    config["forward.plan"] = "no such plan"
    attend(Q, K, V)


def test_compile_refuses_invalid_configurations() -> None:
    with pytest.raises(ConfigError, match="mapping"):
        attncc.compile(STRIDED, config=3)


@pytest.mark.parametrize("name", REFUSED)
def test_invalid_calls_are_refused(name: str) -> None:
    call, error, says = REFUSED[name]
    with pytest.raises(error, match=says):
        call()


def test_patterns_that_no_longer_exist_are_named() -> None:
    arguments = (*tensors(), 0.25, "strided#gone", "", 0, "torch", "")
    with pytest.raises(attncc.PatternError, match="no longer exists"):
        torch.ops.attncc.attention(*arguments)


def test_new_patterns_do_not_recompile_a_model() -> None:
    """As docs/compile.md recommends."""
    torch._dynamo.reset()
    compiled: list[torch.fx.GraphModule] = []

    def counting(graph: torch.fx.GraphModule, _: object):
        compiled.append(graph)
        return graph.forward

    @torch.compiler.disable
    def attend(query, key, value, pattern):
        return attncc.attention(query, key, value, pattern)

    @torch.compile(backend=counting)
    def step(x, pattern):
        return attend(2 * x, x, x, pattern) + 1

    x = torch.randn(1, 1, 12, 8)
    for documents in range(1, 12):
        pattern = attncc.load("document", ids=torch.arange(12) // documents)
        assert torch.equal(step(x, pattern), attncc.attention(2 * x, x, x, pattern) + 1)
    assert len(compiled) == 2, "before and after the attention"


@pytest.mark.parametrize("config", [{}, {"forward.plan": "dense"}])
def test_configurations_are_constants_of_a_graph(config: dict[str, object]) -> None:
    q, k, v = (torch.randn(1, 1, 40, 16) for _ in range(3))

    causal = attncc.load("causal")

    @torch.compile(fullgraph=True, backend="aot_eager")
    def configured(q, k, v):
        return attncc.attention(q, k, v, causal, config=config)

    torch.testing.assert_close(configured(q, k, v), attncc.attention(q, k, v, causal, backend="reference"))


def test_a_warm_call_runs_few_functions_of_attncc() -> None:
    """Time is noisy, and their number isn't: 20 more of them take a small call 6 % longer."""
    query, pattern = torch.randn(1, 1, 16, 16), attncc.load("causal")
    for _ in range(2):
        attncc.attention(query, query, query, pattern, backend="torch")
    files: list[str] = []
    sys.setprofile(lambda frame, event, _: files.append(frame.f_code.co_filename) if event == "call" else None)
    try:
        attncc.attention(query, query, query, pattern, backend="torch")
    finally:
        sys.setprofile(None)
    package = Path(attncc.__file__).parent
    assert sum(Path(file).is_relative_to(package) for file in files) <= 80
