"""Widgets that run a trained model in the page, with a live kernel or with none."""

from .attribute_switch import AttributeSwitch
from .bound_race import BoundRace
from .dispersion_microscope import DispersionMicroscope
from .gan_playground import GANPlayground
from .influence_ruler import InfluenceRuler
from .language_weights import LanguageWeights
from .latent_cliff import LatentCliff
from .latent_space import LatentSpace
from .pattern_bench import PatternBench
from .pooling_race import PoolingRace
from .pooling_temperature import TemperatureSlider
from .pooling_weights import PoolingWeights
from .raml_lottery import RamlLottery
from .rate_distortion_explorer import RateDistortionExplorer
from .sentence_quiz import NextSentenceQuiz
from .sentence_steering import SentenceSteering
from .storyteller import Storyteller
from .text_weights import TextWeights
from .weights import PageWeights

__all__ = [
    "AttributeSwitch",
    "BoundRace",
    "DispersionMicroscope",
    "GANPlayground",
    "InfluenceRuler",
    "LanguageWeights",
    "LatentCliff",
    "LatentSpace",
    "NextSentenceQuiz",
    "PageWeights",
    "PatternBench",
    "PoolingRace",
    "PoolingWeights",
    "RamlLottery",
    "RateDistortionExplorer",
    "SentenceSteering",
    "Storyteller",
    "TemperatureSlider",
    "TextWeights",
]
