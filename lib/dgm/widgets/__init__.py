"""Widgets that run a trained model in the page, with a live kernel or with none."""

from .latent_space import LatentSpace
from .rate_distortion_explorer import RateDistortionExplorer
from .weights import PageWeights

__all__ = ["LatentSpace", "PageWeights", "RateDistortionExplorer"]
