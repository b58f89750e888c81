"""Reports of tuning: a page with pattern, plan and result, and Optuna's own plots of the search."""

from __future__ import annotations

import io
import warnings
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.importance import PedAnovaImportanceEvaluator

from attncc._util import storage
from attncc._util.display import Displayed
from attncc._util.machine import machine, versions
from attncc.cli.tuning_summary import summary
from attncc.tune.result import TaskResult, TuningResult


def write(results: TuningResult, path: Path) -> None:
    """Write the report, one HTML file that needs no other; raises ConfigError where the file can't be written."""
    template = resources.files(__package__).joinpath("tuning_report.jinja").read_text("utf-8")
    page = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(template)
    directions = [
        {"described": each.describe(), "running": _html(each.task.running(each.entry.config)), "plots": _plots(each)}
        for each in results.each
    ]
    text = page.render(
        title=results.each[0].task.title,
        pattern=_html(results.each[0].task.pattern),
        answer=summary(results),
        described=results.describe(),
        directions=directions,
        machine=machine(),
        versions=versions(("attncc", "torch", "triton", "optuna")),
    )
    storage.save(path, text.encode(), "--report")


def _html(shown: Displayed | None) -> str:
    """Return what a notebook would show; it is escaped already."""
    return (shown._repr_html_() or "") if shown is not None else ""


def _plots(result: TaskResult) -> dict[str, str]:
    """Return SVG texts by title; a plot that has too few trials to say anything is left out."""
    study = _study(result)
    if len(study.trials) < 3:
        return {}
    from matplotlib import rc_context
    from optuna.visualization import matplotlib as plots

    with warnings.catch_warnings(), rc_context():  # Optuna sets a style for the whole process
        warnings.simplefilter("ignore")  # of an interface that may change, and of axes with one value
        return {title: _svg(axes) for title, axes in _drawn(plots, study).items()}


def _drawn(plots: Any, study: optuna.Study) -> dict[str, Any]:
    """Return Optuna's plots by title; those that compare need two values."""
    drawn = {"History": plots.plot_optimization_history(study, target_name="ms")}
    if len({trial.value for trial in study.trials}) > 1:
        by_ped_anova = PedAnovaImportanceEvaluator()
        drawn["Importance"] = plots.plot_param_importances(study, evaluator=by_ped_anova, target_name="ms")
        drawn["Parallel coordinates"] = plots.plot_parallel_coordinate(study, target_name="ms")
    return drawn


def _study(result: TaskResult) -> optuna.Study:
    """Return the trials that ran, in milliseconds, with values in place of the places in their lists."""
    study = optuna.create_study(direction="minimize")
    timed = [(config, outcome.seconds) for config, outcome in result.tried if outcome.seconds is not None]
    names = timed[0][0] if timed else ()
    values: dict[str, set[Any]] = {name: {config[name] for config, _ in timed} for name in names}
    kinds: dict[str, BaseDistribution] = {name: CategoricalDistribution(sorted(each)) for name, each in values.items()}
    for config, seconds in timed:
        study.add_trial(optuna.trial.create_trial(params=dict(config), distributions=kinds, value=1e3 * seconds))
    return study


def _svg(axes: Any) -> str:
    """Return a drawing as SVG, and forget it."""
    from matplotlib import pyplot

    figure = axes.figure
    figure.set_size_inches(9, 4.5)
    content = io.StringIO()
    figure.savefig(content, format="svg", bbox_inches="tight")
    pyplot.close(figure)
    return content.getvalue()[content.getvalue().index("<svg") :]
