"""Ways of steering a denoiser; each yields a denoiser."""

from minisd.guidance.classifier import classifier, classifier_log_density
from minisd.guidance.classifier_free import classifier_free, rescaled, scale_of_w, w_of_scale
from minisd.guidance.clip import clip
from minisd.guidance.gradient import LogDensity, guided_by_gradient
from minisd.guidance.refinements import dynamically_thresholded, in_interval

__all__ = [
    "LogDensity",
    "classifier",
    "classifier_free",
    "classifier_log_density",
    "clip",
    "dynamically_thresholded",
    "guided_by_gradient",
    "in_interval",
    "rescaled",
    "scale_of_w",
    "w_of_scale",
]
