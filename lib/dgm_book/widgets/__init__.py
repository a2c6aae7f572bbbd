"""Widgets that run a trained model in the page, with a live kernel or with none."""

from .attribute_switch import AttributeSwitch
from .bound_race import BoundRace
from .chorale import Chorale
from .damage_lab import DamageLab
from .dispersion_microscope import DispersionMicroscope
from .draw_a_digit import DrawADigit
from .gan_playground import GANPlayground
from .hyper_weights import HyperWeights
from .influence_ruler import InfluenceRuler
from .language_weights import LanguageWeights
from .latent_cliff import LatentCliff
from .latent_space import LatentSpace
from .particle_kalman import ParticleKalman
from .pattern_bench import PatternBench
from .pooling_race import PoolingRace
from .pooling_temperature import TemperatureSlider
from .pooling_weights import PoolingWeights
from .raml_lottery import RamlLottery
from .rate_distortion_explorer import RateDistortionExplorer
from .scale_weather import ScaleWeather
from .sentence_quiz import NextSentenceQuiz
from .sentence_steering import SentenceSteering
from .storyteller import Storyteller
from .switch_now import SwitchNow
from .text_weights import TextWeights
from .weights import PageWeights

__all__ = [
    "AttributeSwitch",
    "BoundRace",
    "Chorale",
    "DamageLab",
    "DispersionMicroscope",
    "DrawADigit",
    "GANPlayground",
    "HyperWeights",
    "InfluenceRuler",
    "LanguageWeights",
    "LatentCliff",
    "LatentSpace",
    "NextSentenceQuiz",
    "PageWeights",
    "ParticleKalman",
    "PatternBench",
    "PoolingRace",
    "PoolingWeights",
    "RamlLottery",
    "RateDistortionExplorer",
    "ScaleWeather",
    "SentenceSteering",
    "Storyteller",
    "SwitchNow",
    "TemperatureSlider",
    "TextWeights",
]
