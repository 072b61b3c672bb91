"""How many scenes a second one core draws: ``OMP_NUM_THREADS=1 python benchmarks/scenes.py``.

The first scenes also paint backgrounds and things, which are kept; they are timed apart. The figures are of processor
time, the steady one the best of five runs, so that other programs do not count.
"""

import platform
import time

import numpy as np
from PIL import __version__ as pillow_version

from minisd.scenes import scenes

WARM_UP, SCENES, RUNS = 4000, 1000, 5


def seconds(first: int, count: int) -> float:
    """Processor time to draw `count` scenes from index `first`."""
    start = time.process_time()
    scenes(range(first, first + count))
    return time.process_time() - start


if __name__ == "__main__":
    first = seconds(0, WARM_UP)
    best = min(seconds(WARM_UP + run * SCENES, SCENES) for run in range(RUNS))
    print(f"steady: {SCENES / best:.0f} scenes/s on one core; the first {WARM_UP}: {first:.1f} s")
    print(
        f"Python {platform.python_version()}, NumPy {np.__version__}, Pillow {pillow_version}, {platform.machine()}"
    )
