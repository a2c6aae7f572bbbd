"""Widgets that run a trained model in the page, with a live kernel or with none."""

from .attribute_switch import AttributeSwitch
from .latent_cliff import LatentCliff
from .latent_space import LatentSpace
from .rate_distortion_explorer import RateDistortionExplorer
from .sentence_steering import SentenceSteering
from .text_weights import TextWeights
from .weights import PageWeights

__all__ = [
    "AttributeSwitch",
    "LatentCliff",
    "LatentSpace",
    "PageWeights",
    "RateDistortionExplorer",
    "SentenceSteering",
    "TextWeights",
]
