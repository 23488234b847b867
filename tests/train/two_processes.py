"""What each of two processes does in test_processes.py; arguments: the data folder, and one for the answers."""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import torch.distributed as dist
from grounding_toys import config_for

from visual_thought.pipeline.errors import VisualThoughtError
from visual_thought.train.journal import read_journal
from visual_thought.train.processes import leads
from visual_thought.train.run import train

CALM = {"decoder": {"dim": 16, "num_layers": 1, "num_heads": 2}}  # no dropout
LONG = {"steps": 40, "eval_freq": 10, "log_freq": 1, "controls": [], "keep_last": 9}


def ending(config):
    """How training ends in this process: the checkpoint's numbers, or the error's name and exit code."""
    try:
        done = train(config)
    except VisualThoughtError as error:
        return [type(error).__name__, error.exit_code]
    return done.to_json()


def terminate_at(run_dir, step):
    """A real SIGTERM to this process alone once the log has reached a step."""

    def watch():
        while not any(line["kind"] == "train" and line["step"] >= step for line in read_journal(run_dir)):
            time.sleep(0.002)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def main():
    data, answers = Path(sys.argv[1]), Path(sys.argv[2])
    found = {"alike": ending(config_for(data, "alike", **CALM, eval_batch_size=7))}
    rank = dist.get_rank()
    found["dropping"] = ending(config_for(data, "dropping"))
    found["resumed"] = ending(config_for(data, "started-alone", **CALM, **LONG, resume=True))
    if rank == 1:
        terminate_at(data / "stopped", 5)
    found["stopped"] = ending(config_for(data, "stopped", **CALM, **LONG))
    store = data / ("store" if rank == 0 else "damaged")
    found["damaged"] = ending(config_for(data, "failing", store=store, loader={"residency": "disk"}))
    found["diverged"] = ending(config_for(data, "diverged", optimizer={"lr": 1e30}, controls=[]))
    found["leads"] = leads()
    (answers / f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
