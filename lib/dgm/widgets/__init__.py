"""Widgets that run a trained model in the page, with a live kernel or with none."""

from .attribute_switch import AttributeSwitch
from .dispersion_microscope import DispersionMicroscope
from .gan_playground import GANPlayground
from .influence_ruler import InfluenceRuler
from .latent_cliff import LatentCliff
from .latent_space import LatentSpace
from .pattern_bench import PatternBench
from .pooling_race import PoolingRace
from .pooling_temperature import TemperatureSlider
from .pooling_weights import PoolingWeights
from .rate_distortion_explorer import RateDistortionExplorer
from .sentence_steering import SentenceSteering
from .text_weights import TextWeights
from .weights import PageWeights

__all__ = [
    "AttributeSwitch",
    "DispersionMicroscope",
    "GANPlayground",
    "InfluenceRuler",
    "LatentCliff",
    "LatentSpace",
    "PageWeights",
    "PatternBench",
    "PoolingRace",
    "PoolingWeights",
    "RateDistortionExplorer",
    "SentenceSteering",
    "TemperatureSlider",
    "TextWeights",
]
