"""A short run, for ``torchrun``; it tells which of the processes it is."""

import sys
from pathlib import Path

from test_loop import run

from minisd.training.loop import processes

state = processes()
sys.stdout.write(f"{state.process_index}/{state.num_processes}\n")
run(Path(sys.argv[1]))
