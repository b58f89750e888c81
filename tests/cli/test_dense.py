"""Commands report where dense attention is as fast, and plans that compute all pairs."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from attncc.cli.app import app


def output_of(*arguments: str) -> str:
    found = CliRunner().invoke(app, arguments)
    assert found.exit_code == 0, found.output
    return found.stdout


def test_plan_reports_where_dense_attention_is_as_fast() -> None:
    text = " ".join(output_of("plan", "causal", "-n", "128").split())
    assert "dense attention is as fast" in text
    assert "dense identity" in text
    assert "as fast" not in output_of("plan", "strided", "-n", "8192")


def test_plan_json_includes_dense_attention() -> None:
    found = json.loads(output_of("plan", "strided", "-p", "l=16", "-n", "512", "--json"))
    assert found["dense"]["causal"] is True
    assert found["dense"]["predicted_ms"] > 0
    assert "dense" in [way["name"] for way in found["groups"][0]["alternatives"]]


def test_bench_reports_plans_and_the_comparison_with_dense_attention() -> None:
    found = json.loads(output_of("bench", "causal", "-n", "64", "--heads", "1", "--rounds", "1", "--json"))
    assert found["plans"] == ["split"]
    assert {phase: value < 1.1 for phase, value in found["speedup"].items()} == found["dense_is_as_fast"]
