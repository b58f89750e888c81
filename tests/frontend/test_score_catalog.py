"""Scores by name: those of attncc.frontend.biases, from files, and parameters from text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import attncc
from attncc.errors import AttnccError, ParameterError, ScoreError, TableError
from attncc.frontend.score_catalog import named, names

MINE = """
import torch
import attncc

@attncc.score
def scaled(score, h, *, by: attncc.Weights, twice: bool = False):
    return score * by[h] * (2 if twice else 1)

ready = scaled(by=torch.tensor([1.0, 2.0]))
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(MINE, encoding="utf-8")
    return path


def test_shipped_scores_load_by_name() -> None:
    assert {"alibi", "t5_bias", "softcap"} <= set(names())
    assert named("softcap", ["cap=2.5"]) == attncc.softcap(cap=2.5)


def test_weights_default_to_initial_values() -> None:
    assert torch.equal(named("alibi", heads=4).tensors[0], attncc.alibi_slopes(4))
    assert not named("alibi", heads=4).tensors[0].requires_grad
    (buckets,) = named("t5_bias", heads=3).tensors
    assert (tuple(buckets.shape), buckets.requires_grad) == ((3, 32), True)


def test_weights_parse_from_text_and_files(tmp_path: Path) -> None:
    assert torch.equal(named("alibi", ["slopes=8"]).tensors[0], named("alibi", ["slopes=8"]).tensors[0])
    assert tuple(named("t5_bias", ["weights=8x16"]).tensors[0].shape) == (8, 16)
    np.save(tmp_path / "slopes.npy", np.array([0.5, -1.0]))
    assert named("alibi", [f"slopes=@{tmp_path}/slopes.npy"]).tensors[0].tolist() == [0.5, -1.0]
    np.save(tmp_path / "w.npy", np.ones((2, 8), np.float32))
    (found,) = named("t5_bias", [f"weights=@{tmp_path}/w.npy", "bidirectional=true"], heads=2).tensors
    assert (tuple(found.shape), found.dtype) == ((2, 8), torch.float32)


def test_scores_from_a_file_need_weights(mine: Path) -> None:
    with pytest.raises(ParameterError, match=r"(?s)no weights 'by'.*-s by=8"):
        named(f"{mine}:scaled")
    with pytest.raises(ScoreError, match="one index a dimension"):
        named(f"{mine}:scaled", ["by=scalar"])


def test_scores_load_from_a_file(mine: Path) -> None:
    assert named(f"{mine}:scaled", ["by=2", "twice=true"]).key != named(f"{mine}:ready").key
    assert named(f"{mine}:ready").key == named(f"{mine}:scaled", ["by=2"]).key
    assert named(f"{mine}:ready").tensors[0].tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("name", "parameters", "error", "says"),
    [
        ("alib", [], ScoreError, "Did you mean 'alibi'"),
        ("softcap", [], ParameterError, "needs cap"),
        ("softcap", ["cap=much"], ParameterError, "is a number"),
        ("softcap", ["cap=nan"], ParameterError, "finite"),
        ("softcap", ["limit=3"], ParameterError, "Score 'softcap' has no parameter 'limit'"),
        ("alibi", ["slopes=0.5,2"], ParameterError, "slopes=@slopes.npy"),
        ("alibi", ["slopes=0x2"], ParameterError, "by their shape"),
        ("alibi", ["slopes=@nothing.npy"], TableError, "can't be read as weights"),
        ("MINE", [], ScoreError, "2 scores"),
        ("MINE:other", [], ScoreError, "no score 'other'"),
        ("MINE:ready", ["by=2"], ParameterError, "is ready"),
        ("nothing.py:score", [], AttnccError, "There is no file"),
    ],
)
def test_invalid_names_and_parameters_are_refused(
    name: str, parameters: list[str], error: type[Exception], says: str, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(error, match=says):
        named(name.replace("MINE", str(mine)), parameters)
