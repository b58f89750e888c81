"""What is said of misses: every field in words, whatever its value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import pytest

from attncc.configs.entry import Entry
from attncc.configs.environment import Environment, flat
from attncc.configs.key import Key
from attncc.configs.misses import Miss

Make = Callable[..., Entry]
#: Another value of each field of the key, and what is said of it.
WORDS: dict[str, tuple[object, str]] = {
    "pattern": ("ab" * 32, "another pattern"),
    "density": (-3, "12.500% of all pairs, not no density"),
    "score": ("cd" * 32, "a score, not none"),
    "direction": ("backward", "the backward direction, not the forward direction"),
    "backend": ("triton", "the backend triton, not the backend torch"),
    "target": ("h100", "the target h100, not the target cpu"),
    "dtype": ("bf16", "bf16, not fp32"),
    "head_dim": (64, "heads of 64, not heads of 8"),
    "value_dim": (64, "value heads of 64, not value heads of 8"),
    "heads": (4, "4 heads, not 2 heads"),
    "kv_heads": (1, "1 key heads, not 2 key heads"),
    "batch": (4, "4 batch entries, not 2 batch entries"),
    "q_len": (20, "~1,024 queries, not ~64 queries"),
    "kv_len": (20, "~1,024 keys, not ~64 keys"),
}


def test_every_field_of_a_key_has_words() -> None:
    assert set(WORDS) == {each.name for each in fields(Key)}


@pytest.mark.parametrize("name", WORDS)
def test_misses_say_how_an_entry_differs(name: str, entry: Make, key: Key) -> None:
    there, said = WORDS[name]
    miss = Miss(entry(), "a layer", {name: (getattr(key, name), there)}, {})
    assert str(miss) == f"strided(l=8) in a layer was tuned for {said}"
    assert miss.describe()["said"] == str(miss)


def test_environments_have_words(entry: Make) -> None:
    known = {name: (None, value) for name, value in flat(Environment.of("torch", "cpu").describe()).items()}
    known |= {"packages.torch": ("2.13", "2.12"), "sources": ("aa", "bb"), "settings.FUSED": ("1", None)}
    text = str(Miss(entry(), "a layer", {}, known))
    for said in ("torch 2.12, not torch 2.13", "other code of attncc", "no FUSED, not FUSED 1"):
        assert said in text


def test_equal_keys_say_so(entry: Make) -> None:
    assert str(Miss(entry(), "a layer", {}, {})).endswith("was tuned for the same")
