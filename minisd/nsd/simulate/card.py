"""The card of a simulation: what it is, and what it was made from."""

from __future__ import annotations

import json
from dataclasses import asdict

from minisd.nsd.simulate.settings import SimulationSettings

_TEXT = """# A simulated dataset

No brain was measured for this folder. It has the layout of the Natural Scenes Dataset (Allen et al. 2022,
<https://naturalscenesdataset.org>), so that the same code reads both, and nothing else of it: no number, no picture and
no caption of that dataset is in here. Results on these files say nothing about results on real brains.

{subjects} drawn scenes of 64x64 pixels, {repeats} times each: {own} that no other subject sees, and {shared} that
all see. The first half of the shared ones (in the order of `sharedix`) is for aligning subjects, the second half
for tests.

- **Early regions** (V1 to V3, in part those that border on them): a Gaussian receptive field on the energy of Gabor
  filters, with retinotopy and cortical magnification.
- **Ventral, lateral and parietal regions**: factors of the scene, with patches for faces, bodies, places and clocks.
  Half of the reliable variance is no factor: a random network on the picture, uncorrelated with all factors.
- **Noise**: along the dimensions in which the signal varies it has {along:g} times the signal's variance. Of all noise,
  {regional:.0%} is common to neighbours and {drift:.0%} drifts slowly; its tails are heavy. Sessions differ in gain.
- **Runs** (`nsddata_timeseries`, where they were asked for): each trial's beta times the voxel's own haemodynamic
  response, a slow drift, and noise.

The encoding model shares nothing with the decoders of the book. The book's own settings of signal and noise were chosen
once, before any picture was reconstructed: after the real dataset's betas in V1, and so that a linear read-off is far
from naming all things right.

`simulation/` has the truth: what each voxel answers to, and the responses without noise. No decoder reads it.

Made by `minisd.nsd.simulate.simulate(folder, SimulationSettings(...))` with the settings below; those of
`minisd.nsd.simulate.SIZES` have a command, `minisd nsd simulate FOLDER --size book`, `sample` or `tiny`.

```json
{settings}
```
"""


def card(settings: SimulationSettings) -> str:
    """Write the card, in Markdown."""
    count = len(settings.subjects)
    return _TEXT.format(
        subjects=f"{count} subjects see" if count > 1 else "One subject sees",
        own=settings.own,
        shared=settings.shared,
        repeats=settings.repeats,
        along=settings.noise.along,
        regional=settings.noise.regional,
        drift=settings.noise.drift,
        settings=json.dumps(asdict(settings), indent=1),
    )
