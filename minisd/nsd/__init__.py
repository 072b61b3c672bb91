"""The Natural Scenes Dataset (Allen et al. 2022), read from its own files, whether they are real or simulated.

nibabel, h5py and scipy come with the ``brain`` extra.
"""

from minisd.nsd.layout import Root

__all__ = ["Root"]
