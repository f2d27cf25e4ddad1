"""A training process in miniature, to be killed: takes batches, logs their ids, saves its state each step."""

from __future__ import annotations

import json
import os
import sys

from training.stream import Stream


def main() -> None:
    directory, log, state_path, global_batch, prefetch, steps = sys.argv[1:7]
    stream = Stream(directory, global_batch=int(global_batch), seed=11, prefetch=int(prefetch))
    if os.path.exists(state_path):
        with open(state_path) as file:
            stream.load_state_dict(json.load(file))
    step = stream.samples_seen // int(global_batch)
    with open(log, "a") as file:
        for batch in stream:
            file.write(json.dumps({"step": step, "ids": batch["sample_id"].tolist()}) + "\n")
            file.flush()
            with open(state_path + ".new", "w") as state_file:
                json.dump(stream.state_dict(), state_file)
            os.replace(state_path + ".new", state_path)
            step += 1
            if step == int(steps):
                break


if __name__ == "__main__":
    main()
