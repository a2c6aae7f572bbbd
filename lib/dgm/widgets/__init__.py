"""Widgets that run a trained model in the page, with a live kernel or with none."""

from .attribute_switch import AttributeSwitch
from .gan_playground import GANPlayground
from .latent_cliff import LatentCliff
from .latent_space import LatentSpace
from .pattern_bench import PatternBench
from .rate_distortion_explorer import RateDistortionExplorer
from .sentence_steering import SentenceSteering
from .text_weights import TextWeights
from .weights import PageWeights

__all__ = [
    "AttributeSwitch",
    "GANPlayground",
    "LatentCliff",
    "LatentSpace",
    "PageWeights",
    "PatternBench",
    "RateDistortionExplorer",
    "SentenceSteering",
    "TextWeights",
]
