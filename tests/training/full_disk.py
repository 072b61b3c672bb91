"""A run whose disk is full from step 6 on: no file may grow beyond a few bytes."""

import resource
import sys
from pathlib import Path

from test_loop import Line, run


def fill(calls):
    if calls == 6:
        resource.setrlimit(resource.RLIMIT_FSIZE, (900, 900))


run(Path(sys.argv[1]), Line(fill), log_every=5)
