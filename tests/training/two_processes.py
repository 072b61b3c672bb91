"""A short run, for ``accelerate launch``."""

import sys
from pathlib import Path

from test_loop import run

run(Path(sys.argv[1]))
