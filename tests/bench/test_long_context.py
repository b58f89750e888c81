"""The study of long context: its data, its models, and that a run goes on where it ended."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from long_context import __main__ as command
from long_context import cells, pixels, report, tasks, text
from long_context.applications import Application, applications, quick
from long_context.cells import Cell
from long_context.families import families
from long_context.model import Model, Shape, made, parameters
from long_context.reach import reachable, sources
from long_context.training import IGNORED, Learner, Pace, Part, judged
from typer.testing import CliRunner

import attncc

CONTEXT = 128
SMALL = Shape(vocabulary=16, layers=2, heads=2, width=32, hidden=64)
FAMILIES = families(near=32)


def drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_each_context_judges_the_same_bytes_once() -> None:
    for context in applications()["text"].contexts:
        tokens, targets = text.held_out(context)
        assert torch.equal(targets.flatten(), text.corpus().held_out.flatten().long())
        assert torch.equal(tokens[:, 1:], targets[:, :-1])


def test_held_out_text_is_not_trained_on(tmp_path: Path) -> None:
    for number in range(60):
        (tmp_path / f"{number}.py").write_text(f"x = {number}\n" * text.STRETCH)
        (tmp_path / f"{number}_again.txt").write_text(f"x = {number}\n" * text.STRETCH)
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages" / "foreign.py").write_text("foreign")
    corpus = text.read(tmp_path)
    train = corpus.train.numpy().tobytes()
    assert len(train.split(b"\0")) < 60
    assert b"foreign" not in train
    assert not any(each.numpy().tobytes()[:4000] in train for each in corpus.held_out)


def test_copying_asks_for_what_stood_at_the_distance() -> None:
    tokens, targets = tasks.copying(256, 20, 64, drawn(0))
    row, place = (targets != IGNORED).nonzero(as_tuple=True)
    assert len(row) == 20 * tasks.ASKED
    assert torch.equal(targets[row, place], tokens[row, place + 1 - 64])


def test_recall_asks_for_the_value_of_its_key() -> None:
    tokens, targets = tasks.recall(256, 20, 64, drawn(0))
    rows, places = (targets != IGNORED).nonzero(as_tuple=True)
    assert len(rows) == 20 * tasks.PAIRS
    for row, place in zip(rows.tolist(), places.tolist(), strict=True):
        first, again = (tokens[row] == tokens[row, place]).nonzero().flatten().tolist()
        assert (again, again - first) == (place, 64)
        assert targets[row, place] == tokens[row, first + 1]


def test_listops_has_the_value_that_python_finds() -> None:
    names = ("max", "min", "median", "total")
    functions: dict[str, Any] = {
        "max": lambda *x: max(x),
        "min": lambda *x: min(x),
        "median": lambda *x: sorted(x)[len(x) // 2],
        "total": lambda *x: sum(x) % 10,
    }
    shown = {**{token: f"{token}," for token in range(10)}, tasks.CLOSE: "),"}
    shown |= {10 + number: f"{name}(" for number, name in enumerate(names)}
    for row, target in zip(*tasks.listops(128, 30, 64, drawn(0)), strict=True):
        words = [int(token) for token in row if token != tasks.PADDING]
        assert 32 <= len(words) <= 64
        begun = []
        for place, word in enumerate(words, start=128 - len(words)):
            begun += [place] if 10 <= word < tasks.CLOSE else []
            assert (target[place] == IGNORED) == (word != tasks.CLOSE)
            if word == tasks.CLOSE:
                own = "".join(shown[int(each)] for each in row[begun.pop() : place + 1])
                assert eval(own.rstrip(","), functions) == target[place]
        assert not begun
    _, asked = tasks.whole(tasks.listops)(128, 30, 64, drawn(0))
    assert ((asked != IGNORED).sum(1) == 1).all()
    assert (asked[:, -1] != IGNORED).all()


def test_crops_are_of_the_photographs_and_held_out_ones_are_not_trained_on() -> None:
    pytest.importorskip("sklearn")
    tokens, targets = pixels.held_out(3 * 32 * 32)
    assert torch.equal(tokens[:, 1:], targets[:, :-1])
    (train, kept), *_ = pixels.photographs()
    assert train.shape[1] + kept.shape[1] == 640
    assert torch.equal(targets[0].view(32, 32, 3).to(torch.uint8), kept[:32, :32])


def test_places_are_row_column_and_channel() -> None:
    row, column, channel = pixels.places(3 * 4 * 4)
    assert torch.equal(row * 12 + column * 3 + channel, torch.arange(48))


def nowhere(context: int) -> tuple[()]:
    return ()


def small(name: str, *contexts: int, seed: int = 0) -> dict[int, Model]:
    return made(SMALL, FAMILIES[name], contexts or [CONTEXT], nowhere, seed)


def pace(shared: int, last: int) -> Pace:
    return Pace((Part(shared, 1, 1),), Part(last, 1, 1), warmup=2)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_model_has_as_many_parameters_as_the_dense_one_and_learns(name: str) -> None:
    models = small(name)
    model, dense = models[CONTEXT], small("dense")[CONTEXT]
    assert parameters(model) == pytest.approx(parameters(dense), rel=5e-3)
    rows = torch.arange(CONTEXT + 1).repeat(4, 1) % 16  # each token tells the next
    before = judged(model, (rows[:, :-1], rows[:, 1:])).bits
    learner = Learner(models, pace(8, 4), seed=0)
    for _ in range(12):
        learner.step((rows[:, :-1], rows[:, 1:]))
    assert judged(model, (rows[:, :-1], rows[:, 1:])).bits < before - 1


@pytest.mark.parametrize("name", ["reformer", "compressive"])  # unlike layers, shared projections, two kinds of loss
def test_models_of_all_contexts_are_trained_as_one(name: str) -> None:
    models = small(name, 64, CONTEXT)
    learner = Learner(models, pace(1, 1), seed=0)
    for context in models:
        before = [each.clone() for each in models[CONTEXT].parameters()]
        learner.step((torch.zeros(2, context).long(), torch.ones(2, context).long()))
        assert any(not torch.equal(old, new) for old, new in zip(before, models[CONTEXT].parameters(), strict=True))
        for one, other in zip(*(each.parameters() for each in models.values()), strict=True):
            assert one is other


def test_a_learner_that_is_continued_does_as_one_that_never_stopped() -> None:
    torch.manual_seed(0)
    rows = torch.randint(16, (4, CONTEXT + 1))
    rows = rows[:, :-1], rows[:, 1:]
    whole, beginning = (Learner(small("compressive"), pace(3, 3), seed=0) for _ in range(2))
    for _ in range(3):
        whole.step(rows), beginning.step(rows)
    once, again = (beginning.continued(small("compressive", seed=seed)) for seed in (1, 2))
    expected = [whole.step(rows) for _ in range(3)]
    assert [once.step(rows) for _ in range(3)] == expected
    assert [again.step(rows) for _ in range(3)] == expected  # the first one left the beginning as it was
    assert torch.equal(once.draw.get_state(), whole.draw.get_state())


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in {"lsh", "reformer"}])  # chunks of all tokens
def test_a_model_does_not_look_ahead(name: str) -> None:
    model = small(name)[CONTEXT]
    tokens = torch.randint(16, (1, CONTEXT), generator=drawn(0))
    changed = tokens.clone()
    changed[:, 80:] = 3
    torch.testing.assert_close(model(tokens)[:, :80], model(changed)[:, :80], rtol=0, atol=1e-5)


def test_reach_is_that_of_the_graph() -> None:
    window = attncc.load("sliding_window", window=8)
    far = sources(window, 64, layers=3)
    distance = torch.arange(64)[:, None] - torch.arange(64)
    assert torch.equal(far, (distance >= 0) & (distance <= 3 * 7))
    assert [reachable(window, 64, 3, each) for each in (21, 22)] == [1.0, 0.0]


def tiny() -> dict[str, Application]:
    copying = quick()["copying"]
    few = {name: copying.families[name] for name in ("window", "infini")}
    kept = copying.held_out(512)["16"]
    rows = {"16": (kept[0][:2], kept[1][:2])}
    pace = Pace((Part(1, 2048, 512),), Part(1, 2048, 512), warmup=1)
    return {"copying": replace(copying, families=few, pace=pace, held_out=lambda _: rows, distances=(16,))}


def test_a_run_goes_on_where_it_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "applications", tiny)
    monkeypatch.setattr(command, "RESULTS", tmp_path)
    runner = CliRunner()
    first = runner.invoke(command.app, ["run", "--family", "window", "--seeds", "1"])
    assert first.exit_code == 0, first.output
    kept = (tmp_path / "copying" / "window-512-0.json").read_text()
    again = runner.invoke(command.app, ["run", "--seeds", "1"])
    assert again.exit_code == 0, again.output
    assert (tmp_path / "copying" / "window-512-0.json").read_text() == kept
    assert json.loads((tmp_path / "copying" / "infini-512-0.json").read_text())["judged"]["16"]["bits"] > 0
    assert re.search(r"\| window \| the last 32 \| \d+% \|", report.tables(tmp_path, tiny()))


def test_a_run_out_of_time_begins_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "applications", tiny)
    monkeypatch.setattr(command, "RESULTS", tmp_path)
    late = CliRunner().invoke(command.app, ["run", "--minutes", "0"])
    assert late.exit_code == 0
    assert not list(tmp_path.iterdir())


def test_cells_are_kept_apart() -> None:
    paths = {cell.path(Path("x")) for cell in cells.every(applications(), 2)}
    assert len(paths) == len(list(cells.every(applications(), 2)))
    assert Cell("text", "dense", 256, 1).path(Path("x")) == Path("x/text/dense-256-1.json")
