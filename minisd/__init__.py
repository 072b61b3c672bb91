"""minisd: diffusion models, from one noise step to reading pictures out of brains."""

from importlib.metadata import version

__version__ = version("minisd")
