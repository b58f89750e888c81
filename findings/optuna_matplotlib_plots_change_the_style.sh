#!/usr/bin/env bash
# Optuna 5.0.0: a plot of optuna.visualization.matplotlib sets matplotlib's style for the whole process, and leaves it set.
# Every figure that is drawn afterwards has ggplot's grey background and grid. `with matplotlib.rc_context():` around the
# call keeps the style to the plot.
# Seen: "before: white", "after one plot: #E5E5E5", "after one plot in a context: white".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet optuna==5.0.0 matplotlib==3.11.2
MPLBACKEND=Agg "$folder/venv/bin/python" - <<'PROGRAM' | tee "$folder/seen"
import warnings

import matplotlib
import optuna
from optuna.visualization import matplotlib as plots

warnings.simplefilter("ignore")
optuna.logging.set_verbosity(optuna.logging.ERROR)
study = optuna.create_study()
study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
print("before:", matplotlib.rcParams["axes.facecolor"])
with matplotlib.rc_context():
    plots.plot_optimization_history(study)
inside = matplotlib.rcParams["axes.facecolor"]
plots.plot_optimization_history(study)
print("after one plot:", matplotlib.rcParams["axes.facecolor"])
print("after one plot in a context:", inside)
PROGRAM
diff "$folder/seen" - <<'EXPECTED'
before: white
after one plot: #E5E5E5
after one plot in a context: white
EXPECTED
