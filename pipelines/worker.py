"""A Beam worker process of the embedded runner: Beam's own, keeping its log for the runner.

Beam sends what a worker logs to the runner; what it says before that is set up would end on the user's terminal.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys


def main() -> None:
    """Run Beam's worker until the runner hangs up."""
    logging.getLogger().addHandler(logging.NullHandler())
    from apache_beam.runners.worker import sdk_worker_main

    # A failed bundle goes to the runner as an error; Beam prints it here besides. What stops this process is shown.
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        sdk_worker_main.main(sys.argv)


if __name__ == "__main__":
    main()
