"""Expressions of constraints give a value or a ConfigError."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attncc.errors import ConfigError
from attncc.tune.expression import parse

NAMES = {
    "q_len": 4096,
    "forward.block_m": 64,
    "forward.plan": "split",
    "ways": ("cheapest", "split"),
    "residual": False,
    "target.shared_per_block": 1000.5,
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("forward.block_m * 2 + 1", 129),
        ("-forward.block_m // 3 % 5", -64 // 3 % 5),
        ("16 <= forward.block_m < q_len", True),
        ("16 <= forward.block_m < 64 < missing", None),
        ("forward.plan in ways", True),
        ("forward.plan not in ['fused', 1]", True),
        ("forward.plan == 'split' and not residual", True),
        ("residual or forward.block_m == 64.0", True),
        ("max(1, forward.block_m - 1, 2) + min(3, 2) + abs(-4)", 69),
        ("target.shared_per_block > 1000", True),
        ("forward.block_m > 1  # a comment\n  and q_len\n> 1", True),
        ("(1, 'a') == [1, 'a']", True),
        ("1 != 1", False),
    ],
)
def test_values_agree_with_python(text: str, value: object) -> None:
    if value is not None:
        assert parse(text, "space.toml")(NAMES) == value


def test_operators_short_circuit_as_in_python() -> None:
    assert parse("residual and 1 // 0 == 1", "f")(NAMES) is False
    assert parse("not residual or 1 // 0 == 1", "f")(NAMES) is True
    assert parse("q_len < 1 < 1 // 0", "f")(NAMES) is False


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "().__class__",
        "q_len.bit_length()",
        "2 ** 99999",
        "1 << 99999",
        "ways[0]",
        "[x for x in ways]",
        "lambda: 1",
        "1 if residual else 2",
        "(q := 1)",
        "f'{q_len}'",
        "b'a'",
        "1j",
        "None",
        "...",
        "print(1)",
        "max(*ways)",
        "max(1, key=abs)",
        "min()",
        "abs(1, 2)",
        "q_len is q_len",
        "1 / 2",
        "+1",
        "{1: 2}",
        "",
        "# nothing",
        "[]",
        "(yield)",
        "q_len = 1",
        "1; 2",
        "\x00",
        r"'\d'",
        "(" * 240 + "1" + ")" * 240,
        "-" * 499 + "1",
        "~" * 499 + "1",
        "a" + " + a" * 200,
        "9" * 501,
    ],
)
def test_unsupported_syntax_is_refused_when_parsed(text: str) -> None:
    with pytest.raises(ConfigError, match=r"space\.toml: rule"):
        parse(text, "space.toml")


@pytest.mark.parametrize("text", [None, 1, True, ["q_len"]])
def test_rules_must_be_text(text: object) -> None:
    with pytest.raises(ConfigError, match="not a text"):
        parse(text, "space.toml")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("q_length > 1", "Unknown name 'q_length'"),
        ("q_len // (forward.block_m - 64) > 1", "zero"),
        ("q_len % 0 > 1", "zero"),
        ("forward.plan < 1", "'split' is not a number"),
        ("forward.plan == 1", "of another kind"),
        ("forward.plan * 9 == 1", "'split' is not a number"),
        ("residual + 1 == 1", "False is not a number"),
        ("1 in q_len", "looks into 4096"),
        ("'a' in 'abc'", "looks into 'abc'"),
        ("q_len and residual", "neither True nor False"),
        ("not q_len", "neither True nor False"),
        ("-forward.plan", "'split' is not a number"),
        ("max(ways)", "not a number"),
        (" * ".join(["9" * 99] * 4) + " + 0.5", "too large"),
    ],
)
def test_failures_on_values_are_explained(text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as raised:
        parse(text, "space.toml")(NAMES)
    assert raised.value.problem.startswith("space.toml: rule")


def test_unknown_names_suggest_the_nearest() -> None:
    read = parse("forward.blockm > 1", "space.toml")
    with pytest.raises(ConfigError, match=r"Did you mean 'forward\.block_m'"):
        read.check(NAMES)
    with pytest.raises(ConfigError, match=r"Did you mean 'forward\.block_m'"):
        read(NAMES)


def test_names_list_what_a_rule_reads() -> None:
    assert parse("max(forward.block_m, 1) in [q_len]", "f").names == {"forward.block_m", "q_len"}


TOKENS = """
    q_len forward.block_m ways residual ( ) [ ] , . + - * // % ** / < <= == != in not and or is if else 0 1 64 1e9
    'split' min max abs lambda : := { } @ ~ ; # None True
"""


@given(st.one_of(st.text(max_size=40), st.lists(st.sampled_from(TOKENS.split()), max_size=14).map(" ".join)))
def test_rules_give_a_value_or_a_config_error(text: str) -> None:
    value: object = ()
    with contextlib.suppress(ConfigError):
        value = parse(text, "space.toml")(NAMES)
    assert isinstance(value, bool | int | float | str | tuple)


def test_rules_are_fast_enough_for_large_spaces() -> None:
    rules = [parse("16 <= forward.block_m * 2 <= q_len or forward.plan in ways", "f")] * 8
    begin = time.process_time()
    for _ in range(20_000):
        for rule in rules:
            rule(NAMES)
    assert time.process_time() - begin < 1
