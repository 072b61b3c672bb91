"""Ways of steering a denoiser; each yields a denoiser."""

from minisd.guidance.classifier_free import classifier_free, rescaled, scale_of_w, w_of_scale
from minisd.guidance.refinements import dynamically_thresholded, in_interval

__all__ = [
    "classifier_free",
    "dynamically_thresholded",
    "in_interval",
    "rescaled",
    "scale_of_w",
    "w_of_scale",
]
