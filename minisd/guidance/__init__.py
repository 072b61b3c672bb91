"""Ways of steering a denoiser; each yields a denoiser."""

from minisd.guidance.classifier import classifier, classifier_log_density
from minisd.guidance.classifier_free import classifier_free, rescaled, scale_of_w, w_of_scale
from minisd.guidance.clip import clip
from minisd.guidance.gradient import LogDensity, guided_by_gradient
from minisd.guidance.refinements import dynamically_thresholded, in_interval
from minisd.guidance.self_calibrated import (
    calibration_loss,
    energy_denoiser,
    energy_log_density,
    self_calibrated,
)
from minisd.guidance.spatial import multi_conditional, spatial_map, widen, with_map

__all__ = [
    "LogDensity",
    "calibration_loss",
    "classifier",
    "classifier_free",
    "classifier_log_density",
    "clip",
    "dynamically_thresholded",
    "energy_denoiser",
    "energy_log_density",
    "guided_by_gradient",
    "in_interval",
    "multi_conditional",
    "rescaled",
    "scale_of_w",
    "self_calibrated",
    "spatial_map",
    "w_of_scale",
    "widen",
    "with_map",
]
