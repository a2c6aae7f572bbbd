"""Chapter 4's recipes: which models, data, sizes and labels at which profile."""

from typing import NamedTuple

from dgm.papers.controllable_text_vae import LossWeights

MANIPULATIONS = {"1 s.d.": 1.0, "2 s.d.": 2.0, "extremum": "extremum"}  # of the ordinary VAE
ACCURACY_GOALS = {2000: 88.0, 200: 82.0}  # by labels, of the point that validation sentences choose
# Goals for the worst seed: accuracy, BLEU against sources and people, perplexity over the sources'.
TARGETS = {2000: (82.0, 55.0, 25.0, 1.25), 200: (78.0, 48.0)}
LEAST_BLEU = 5.0  # of own sentences, below which a model's decoder does not read its code
FILES = {"yelp": ("yelp-shen", "yelp-li"), "amazon": ("amazon-li", "vader-snippets"), "reviews": ()}


class JudgeRecipe(NamedTuple):
    """The classifier and the language model that judge rewrites."""

    vocabulary: int
    embedding: int  # of the classifier
    filters: int  # of each of its widths
    classifier_steps: int
    hidden: int  # of the language model, and its embedding
    language_steps: int
    batch_size: int = 64
    classifier_rate: float = 1e-3
    language_rate: float = 4e-3
    bleu_resamples: int = 1000
    perplexity_resamples: int = 2000


class CodeRecipe(NamedTuple):
    """The paper's model and the ordinary VAE."""

    n_sentences: int  # of the training split, from its start
    vocabulary: int
    embedding: int
    hidden: int
    layers: int  # of the encoders
    word_dim: int  # of word vectors
    feature_dim: int  # their first principal components, over sentences
    steps: int
    batch_size: int
    learning_rate: float
    dropout: float  # of the decoder; below the paper's half where training ends early
    mapper_sentences: int
    mapper_resolutions: tuple[int, ...]
    bf16: bool
    # As released, the KL's pull to the centroid is stronger than all that pushes away from it.
    weights: LossWeights = LossWeights(residual=0.03, structured=0.002)
    beta: float = 0.03  # of the ordinary VAE


class SteeringRecipe(NamedTuple):
    """The steering model."""

    n_sentences: int  # of the training split, from its start
    vocabulary: int
    embedding: int
    hidden: int
    context: int
    voters: int
    feature_dim: int
    labels: tuple[int, ...]  # how many sentences are labelled, one model each
    steps: tuple[int, ...]  # of each of these models
    batch_size: int
    learning_rate: float
    bf16: bool  # in the matrix products of training, where the device has it
    margins: tuple[float, ...] = (100.0, 3.0, 2.0, 1.4, 1.0, 0.7, 0.4, 0.2)  # first: no mask
    thresholds: tuple[float, ...] = (0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.75, 0.9)


class Recipe(NamedTuple):
    """All models of the chapter at one profile."""

    dataset: str
    other_datasets: tuple[str, ...]  # on which the two text VAEs are trained once more, one seed
    judges: JudgeRecipe
    codes: CodeRecipe
    steering: SteeringRecipe


RECIPES = {
    "smoke": Recipe(
        "reviews",
        (),
        JudgeRecipe(300, 32, 16, 150, 48, 200, 64, 6e-3, 1.5e-2),
        CodeRecipe(4000, 200, 32, 64, 1, 24, 4, 120, 128, 6e-3, 0.5, 100, (5, 10), False),
        SteeringRecipe(4000, 200, 32, 64, 48, 32, 16, (200,), (220,), 64, 4e-3, False),
    ),
    "small": Recipe(
        "yelp",
        ("amazon",),
        JudgeRecipe(6000, 128, 100, 1900, 200, 2500),
        CodeRecipe(
            50_000, 4000, 128, 512, 1, 200, 8, 3000, 64, 3e-3, 0.2, 500, (5, 10, 20, 40), True
        ),
        SteeringRecipe(
            132_322, 4000, 128, 256, 128, 96, 200, (2000, 200), (1400, 900), 256, 2e-3, True
        ),
    ),
    "paper": Recipe(
        "yelp",
        ("amazon",),
        JudgeRecipe(10_000, 300, 500, 6000, 512, 4000),
        CodeRecipe(
            *(132_322, 9500, 256, 1024, 2, 300, 8, 50_000, 256, 1e-3, 0.5),
            *(10_000, (5, 10, 20, 40, 80), True),
        ),
        SteeringRecipe(
            132_322, 10_000, 256, 512, 256, 192, 300, (2000, 200), (12_000, 12_000), 512, 1e-3, True
        ),
    ),
}
