"""Widgets that run a trained model in the page, with a live kernel or with none."""
# ruff: noqa: F401

from .bre_gan import GANPlayground, PatternBench
from .controllable_text_vae import AttributeSwitch, LatentCliff, SentenceSteering
from .hyper_weights import HyperWeights
from .mutual_information_lm import BoundRace, NextSentenceQuiz, RamlLottery, Storyteller
from .pooling_vae import DispersionMicroscope, InfluenceRuler, PoolingRace, TemperatureSlider
from .rate_distortion import DamageLab, DrawADigit, LatentSpace, RateDistortionExplorer
from .rewriter_weights import RewriterWeights
from .text_weights import LanguageWeights, PoolingWeights, TextWeights
from .variational_hyper_rnn import Chorale, ParticleKalman, ScaleWeather, SwitchNow
from .weights import PageWeights
