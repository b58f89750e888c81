"""A rank of a world of gloo processes: reads one job per line of JSON."""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback


def main(rank: int, ranks: int, store: str) -> None:
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    results = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # prints of libraries go to the log
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=ranks)
    print(json.dumps({"ready": rank}), file=results, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            module, _, name = request["job"].rpartition(".")
            job = getattr(importlib.import_module(module or "jobs"), name)
            answer = {"result": job(*request["arguments"])}
        except BaseException:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=results, flush=True)
    os._exit(0)  # a world that failed half-way may not come apart by itself


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
