"""Ways of steering a denoiser; each yields a denoiser."""

from minisd.guidance.classifier_free import classifier_free

__all__ = ["classifier_free"]
