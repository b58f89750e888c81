"""Configurations as text: decoded once, and told apart by the types of their values."""

from __future__ import annotations

import pytest

from attncc.configs.encoding import decoded, encoded
from attncc.errors import ConfigError


def test_decoding_separates_the_planner_from_the_backend() -> None:
    text = encoded({"forward.plan": "fused", "backward.plan": "split", "forward.query_tile": 64})
    forward, backward = decoded(text, "forward"), decoded(text, "backward")
    assert (forward.planner.plan, backward.planner.plan) == ("fused", "split")
    assert forward.backend == backward.backend == {"forward.query_tile": 64}
    assert decoded(text, "forward") is forward


def test_the_order_of_names_does_not_change_the_text() -> None:
    assert encoded({"a": 1, "b": 2}) == encoded({"b": 2, "a": 1})
    assert encoded({}) != encoded(None) == ""


def test_decoded_configurations_differ_in_the_types_of_values() -> None:
    one, true = (decoded(encoded({"forward.chunk": value}), "forward") for value in (1, True))
    assert one != true


@pytest.mark.parametrize("config", ["fused", 1, {1: 2, "a": 3}, {"forward.plan": object()}])
def test_encoding_refuses_what_operators_cannot_take(config: object) -> None:
    with pytest.raises(ConfigError) as refused:
        encoded(config)
    assert refused.value.rule
    assert refused.value.fix
