"""The mathematics of diffusion; it knows no network."""

from minisd.diffusion.losses import (
    VariationalBound,
    clipped_posterior_variance,
    denoising_term,
    discretised_reconstruction_term,
    gaussian_kl,
    prior_term,
    reconstruction_term,
    simple_loss,
    true_reverse_variance,
    variational_bound,
)
from minisd.diffusion.mixture import GaussianMixture, gaussian_flow
from minisd.diffusion.noise import ImageNoise, Noise
from minisd.diffusion.samplers import SAMPLERS, Step, sample, sample_steps
from minisd.diffusion.schedule import Denoiser, Kind, NoiseSchedule, Spacing

__all__ = [
    "SAMPLERS",
    "Denoiser",
    "GaussianMixture",
    "ImageNoise",
    "Kind",
    "Noise",
    "NoiseSchedule",
    "Spacing",
    "Step",
    "VariationalBound",
    "clipped_posterior_variance",
    "denoising_term",
    "discretised_reconstruction_term",
    "gaussian_flow",
    "gaussian_kl",
    "prior_term",
    "reconstruction_term",
    "sample",
    "sample_steps",
    "simple_loss",
    "true_reverse_variance",
    "variational_bound",
]
