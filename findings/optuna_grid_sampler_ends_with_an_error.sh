#!/usr/bin/env bash
# optuna 5.0.0: with ask and tell, GridSampler raises RuntimeError in the tell() of its last grid point. The cause: it
# calls Study.stop(), which only optimize() allows. The trial is recorded nevertheless. A loop that ends at the
# exception has all results. A loop that counts the exception as a failed trial counts the last trial twice.
# Seen: the second of two tells raises, and both trials are COMPLETE. This script fails if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "optuna==5.0.0"
"$folder/venv/bin/python" - <<'PYTHON'
import optuna

optuna.logging.set_verbosity(optuna.logging.ERROR)
study = optuna.create_study(sampler=optuna.samplers.GridSampler({"x": [1, 2]}, seed=0))
raised = []
for number in range(2):
    trial = study.ask()
    x = trial.suggest_int("x", 1, 2)
    try:
        study.tell(trial, float(x))
    except RuntimeError as error:
        raised.append((number, str(error)))
states = [trial.state.name for trial in study.trials]
print("optuna", optuna.__version__, raised, states)
assert [number for number, _ in raised] == [1]
assert states == ["COMPLETE", "COMPLETE"]
PYTHON
