"""Run a Beam pipeline where the user wants it, with a progress bar that any runner can feed.

The default is Beam's embedded ``FnApiRunner``, by name: ``DirectRunner`` first tries to fetch a Prism binary over the
network. One process unless more workers are asked for; everything after ``--`` on the command line goes to Beam.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from gristmill.errors import GristmillError, InputError
from gristmill.progress import Reporter, Task

_POLL_SECONDS = 0.5
#: From this much input on, starting worker processes (4-5 s) pays for itself.
MULTI_PROCESS_BYTES = 100_000_000
_ONE_THREAD = {"RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
#: Marks an error raised for the user inside a worker, so that it can be told again in one line.
_ERROR_MARK = "gristmill-error:"


@dataclass(frozen=True)
class Execution:
    """How pipelines are run: ``workers`` (None: by input size), Beam's own options, where to report."""

    workers: int | None = None
    beam_arguments: tuple[str, ...] = ()
    reporter: Reporter = field(default_factory=Reporter)

    def options(self, input_bytes: int) -> PipelineOptions:
        """Beam options for so much input."""
        arguments = list(self.beam_arguments)
        if not any(argument.split("=")[0] == "--runner" for argument in arguments):
            arguments.insert(0, "--runner=FnApiRunner")
            workers = self.workers
            if workers is None:
                workers = len(os.sched_getaffinity(0)) if input_bytes >= MULTI_PROCESS_BYTES else 1
            if workers > 1:
                arguments += ["--direct_running_mode=multi_processing", f"--direct_num_workers={workers}"]
                if not any(argument.startswith("--default_sdk_harness_log_level") for argument in arguments):
                    arguments.append("--default_sdk_harness_log_level=CRITICAL")
        return PipelineOptions(arguments)


def worker_error(error: GristmillError) -> RuntimeError:
    """Wrap a user-facing error so that its line survives the trip from a worker process."""
    return RuntimeError(f"{_ERROR_MARK}{error}{_ERROR_MARK}")


def run_pipeline(
    execution: Execution,
    build: Callable[[beam.Pipeline], object],
    *,
    label: str,
    input_bytes: int,
    finished_bytes: Callable[[], float],
) -> None:
    """Build and run one pipeline to its end.

    ``finished_bytes`` looks at the files written so far and says how much input they stand for: progress that holds
    on every runner, since it asks the storage and not the runner. Errors raised by ``worker_error`` come back as
    InputError; anything else is raised as Beam gives it.
    """
    _quiet_libraries()
    with execution.reporter.task(label, total=input_bytes, unit="B") as task, _single_threaded():
        stop = threading.Event()
        watcher = threading.Thread(target=_watch, args=(task, finished_bytes, stop), daemon=True)
        watcher.start()
        try:
            with beam.Pipeline(options=execution.options(input_bytes)) as pipeline:
                build(pipeline)
        except Exception as error:
            text = str(error)
            if _ERROR_MARK in text:
                raise InputError(text.split(_ERROR_MARK)[1]) from error
            raise
        finally:
            stop.set()
            watcher.join()
        task.set(input_bytes)


def _watch(task: Task, finished_bytes: Callable[[], float], stop: threading.Event) -> None:
    while not stop.wait(_POLL_SECONDS):
        with contextlib.suppress(OSError):
            task.set(finished_bytes())


@contextlib.contextmanager
def _single_threaded() -> Iterator[None]:
    """Native thread pools of worker processes at one thread each: the workers are the parallelism."""
    before = {key: os.environ.get(key) for key in _ONE_THREAD}
    os.environ.update(_ONE_THREAD)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value


def _quiet_libraries() -> None:
    """Beam logs each failed bundle with its traceback; all of that is in the exception it raises as well."""
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
    logging.getLogger("root").setLevel(logging.ERROR)
