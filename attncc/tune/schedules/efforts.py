"""Efforts: how much a tuning of schedules may take."""

from __future__ import annotations

from attncc.tune.options import Effort, Efforts

#: Trials are simulations; where ranks measure, they are the fastest of these that all ranks run.
SIMULATED: Efforts = {"quick": Effort(64, 60.0, 1, 1), "full": Effort(1000, 900.0, 1, 1)}
MEASURED: Efforts = {"quick": Effort(8, 120.0, 3, 7), "full": Effort(32, 900.0, 5, 15)}
