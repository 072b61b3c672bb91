"""Make glmsingle_reference.npz: a small scan, and what GLMsingle itself makes of it.

GLMsingle is not on PyPI. With ``pip install git+https://github.com/cvnlab/GLMsingle`` (of 2025-08-28 or later; earlier
ones had faults in choosing the number of regressors), run ``python -m tests.nsd.glmsingle_reference``. What is kept was
made with version 1.2, commit 1ab54a6, fracridge 2.0, scikit-learn 1.9.1.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from minisd.nsd.hrf import STEP, library, response
from tests.nsd.simulated_bold import DURATION, TR, simulate

PATH = Path(__file__).with_suffix(".npz")
THRESHOLD = 2.0
REGRESSORS = 5


def main():
    from glmsingle.glmsingle import GLM_single

    made = simulate(seed=1, runs=3, voxels=24, white=1.0, shared=1.0)
    bold = np.array([run.bold for run in made.runs]).round().astype(np.int16)
    onsets = np.array([run.onsets for run in made.runs])
    pictures = np.array([run.pictures for run in made.runs])

    shown = np.zeros((*bold.shape[:2], pictures.max() + 1))
    for run in range(len(bold)):
        shown[run, np.rint(onsets[run] / TR).astype(int), pictures[run]] = 1
    samples = np.arange(0, 50, TR)

    def at_volumes(hrf):
        return np.interp(samples, np.arange(len(hrf)) * STEP, hrf)

    shapes = np.array([at_volumes(h) for h in library(DURATION)])
    options = {
        "wantlibrary": 1,
        "hrftoassume": at_volumes(response(DURATION)),
        "hrflibrary": shapes.T,
        "n_pcs": REGRESSORS,
        "brainR2": THRESHOLD,
        "pcR2cutoff": THRESHOLD,
        "wantfileoutputs": [0, 0, 0, 0],
        "wantmemoryoutputs": [1, 1, 1, 1],
    }
    data = [b.T.astype(np.float32) for b in bold]
    with TemporaryDirectory() as folder:
        estimate = GLM_single(options).fit(list(shown), data, DURATION, TR, folder, folder)

    index = np.ravel(estimate["typed"]["HRFindex"])
    # It brings a response to a peak of 1 at its highest volume; minisd, at its highest moment.
    peak = shapes.max(axis=1)[index]
    betas = {
        name: np.reshape(estimate[kind]["betasmd"], (len(index), -1)).T / peak
        for name, kind in (("fithrf", "typeb"), ("denoised", "typec"), ("final", "typed"))
    }
    np.savez_compressed(
        PATH,
        bold=bold,
        onsets=onsets,
        pictures=pictures,
        on_off_r2=np.ravel(estimate["typea"]["onoffR2"]).astype(np.float32),
        hrf=index,
        pool=np.ravel(estimate["typed"]["noisepool"]),
        errors=-np.asarray(estimate["typed"]["xvaltrend"]),
        regressors=estimate["typed"]["pcnum"],
        fraction=np.ravel(estimate["typed"]["FRACvalue"]),
        **{name: b.astype(np.float32) for name, b in betas.items()},
    )


if __name__ == "__main__":
    main()
