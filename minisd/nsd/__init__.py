"""The Natural Scenes Dataset (Allen et al. 2022), read from its own files, whether they are real or simulated.

nibabel, h5py and scipy come with the ``brain`` extra.
"""

from minisd.nsd.betas import read_betas
from minisd.nsd.layout import Root
from minisd.nsd.noise import ncsnr, noise_ceiling, read_ncsnr
from minisd.nsd.prepared import Prepared, load_prepared
from minisd.nsd.roi import read_labels, read_roi
from minisd.nsd.stimuli import Stimuli
from minisd.nsd.subject import Subject
from minisd.nsd.trials import Trials, read_trials

__all__ = [
    "Prepared",
    "Root",
    "Stimuli",
    "Subject",
    "Trials",
    "load_prepared",
    "ncsnr",
    "noise_ceiling",
    "read_betas",
    "read_labels",
    "read_ncsnr",
    "read_roi",
    "read_trials",
]
