"""What importing minisd costs beside importing torch: ``python benchmarks/import_time.py``.

Each line is the fastest of five fresh interpreters, since the first one reads from a cold disk.
"""

import subprocess
import sys
import time

WHAT = {
    "nothing": "pass",
    "torch": "import torch",
    "torch and minisd": "import torch, minisd",
    "torch and minisd.diffusion": "import torch, minisd.diffusion",
}


def seconds(code: str) -> float:
    """Time a fresh interpreter that runs `code`."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    for what, code in WHAT.items():
        print(f"{what:28}{min(seconds(code) for _ in range(5)):6.2f} s")
