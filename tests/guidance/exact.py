"""A world where all is known: three Gaussians, two classes, and the perfect classifier of noisy points."""

import torch
from scipy.stats import ks_2samp

from minisd.diffusion import GaussianMixture, NoiseSchedule

SCHEDULE = NoiseSchedule.linear()
CLASSES = ([0], [1, 2])  # components of each class
DATA = GaussianMixture(
    [0.5, 0.2, 0.3],
    [[-1.0, 0.5], [1.0, 0.0], [0.2, -1.5]],
    [[[0.3, 0.0], [0.0, 0.3]], [[0.5, 0.2], [0.2, 0.4]], [[0.1, 0.0], [0.0, 0.6]]],
)


def part(components):
    """Data of some components alone, each with the weight it has."""
    return GaussianMixture(
        DATA.weights[components], DATA.means[components], DATA.covariances[components]
    )


CONDITIONAL = [part(components) for components in CLASSES]
SHARE = [float(DATA.weights[components].sum()) for components in CLASSES]


def logits(x_t, t):
    """log p(x_t, y), [B, 2]: its log-softmax is log p(y | x_t), its logsumexp log p(x_t)."""
    a_bar = SCHEDULE.alpha_bar_at(t)
    joint = [
        torch.log(torch.tensor(share)) + data.log_prob(x_t, a_bar)
        for share, data in zip(SHARE, CONDITIONAL, strict=True)
    ]
    return torch.stack(joint, dim=1)


def smallest_p(samples, expected):
    """Kolmogorov and Smirnov's two-sample test along four directions, each p times their number."""
    ways = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
    return min(
        4 * ks_2samp((samples @ way).numpy(), (expected @ way).numpy()).pvalue for way in ways
    )


TIMES = torch.tensor([0.0, 3.0, 50.0, 300.0, 700.5, 999.0], dtype=torch.float64)
POINTS = torch.randn(6, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
