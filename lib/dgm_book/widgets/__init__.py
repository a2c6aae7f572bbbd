"""Widgets that run a trained model in the page, with a live kernel or with none."""

from .attribute_switch import AttributeSwitch as AttributeSwitch
from .bound_race import BoundRace as BoundRace
from .chorale import Chorale as Chorale
from .damage_lab import DamageLab as DamageLab
from .dispersion_microscope import DispersionMicroscope as DispersionMicroscope
from .draw_a_digit import DrawADigit as DrawADigit
from .gan_playground import GANPlayground as GANPlayground
from .hyper_weights import HyperWeights as HyperWeights
from .influence_ruler import InfluenceRuler as InfluenceRuler
from .language_weights import LanguageWeights as LanguageWeights
from .latent_cliff import LatentCliff as LatentCliff
from .latent_space import LatentSpace as LatentSpace
from .particle_kalman import ParticleKalman as ParticleKalman
from .pattern_bench import PatternBench as PatternBench
from .pooling_race import PoolingRace as PoolingRace
from .pooling_temperature import TemperatureSlider as TemperatureSlider
from .pooling_weights import PoolingWeights as PoolingWeights
from .raml_lottery import RamlLottery as RamlLottery
from .rate_distortion_explorer import RateDistortionExplorer as RateDistortionExplorer
from .scale_weather import ScaleWeather as ScaleWeather
from .sentence_quiz import NextSentenceQuiz as NextSentenceQuiz
from .sentence_steering import SentenceSteering as SentenceSteering
from .storyteller import Storyteller as Storyteller
from .switch_now import SwitchNow as SwitchNow
from .text_weights import TextWeights as TextWeights
from .weights import PageWeights as PageWeights
