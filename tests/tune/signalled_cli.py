"""`attncc`, which gets a signal as soon as it has noticed so many trials: `signalled_cli.py SIGKILL 3 tune ...`."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from attncc.cli import main, tuning_watch

NUMBER, TRIALS = signal.Signals[sys.argv[1]], int(sys.argv[2])


class Signalled(tuning_watch.Watch):
    def on_trial(self, task: Any, progress: Any) -> None:
        super().on_trial(task, progress)
        if progress.ran == TRIALS:
            os.kill(os.getpid(), NUMBER)


if __name__ == "__main__":
    tuning_watch.Watch = Signalled  # type: ignore[misc]
    sys.argv[1:] = sys.argv[3:]
    main()
