"""What a picture shows, and how far pictures are from others."""

from minisd.metrics.frechet import frechet_distance
from minisd.metrics.labels import LABELS, answers, labels_of
from minisd.metrics.scorer import Scorer, score

__all__ = ["LABELS", "Scorer", "answers", "frechet_distance", "labels_of", "score"]
