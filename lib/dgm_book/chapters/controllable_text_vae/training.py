"""What chapter 4's models share: their context, averages of word vectors, and one training loop."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dgm.data import text
from dgm.data.batches import length_batches
from dgm.data.text import Corpus, Vocabulary
from dgm.train import TrainingState, fit
from dgm_book import results
from dgm_book.chapters.controllable_text_vae.recipe import FILES, RECIPES, Recipe
from dgm_book.profiles import Profile
from dgm_book.results import Result

CHAPTER = "04_controllable_text_vae"
Computed = tuple[dict, dict]  # plain values and tensors
OWN_SENTENCES = (
    "the food was great and the staff was friendly .",
    "we waited an hour and the pizza was still cold .",
    "i love this place and i will be back !",
    "the service was terrible and the manager was rude .",
    "the room was clean and quiet .",
    "worst haircut i have ever had .",
    "the coffee is always fresh and the prices are fair .",
    "they never answer the phone .",
)


class Setup(NamedTuple):
    """What is trained, and where."""

    profile: Profile
    recipe: Recipe

    def context(self, dataset: str | None = None) -> results.Context:
        """What the results on a data set share; the default is the recipe's own."""
        files = FILES[dataset or self.recipe.dataset]
        experiment = "dgm_book.chapters.controllable_text_vae.run"
        return results.Context(experiment, CHAPTER, self.profile, files)

    def get(
        self, name: str, compute: Callable[..., Computed], dataset: str, *more: Any, **settings: Any
    ) -> Result:
        """A result on a data set, loaded, or computed of this, the data set, and more."""
        context = self.context(dataset)
        return results.get(name, lambda: compute(self, dataset, *more), context, **settings)


def setup(profile: Profile, recipe: Recipe | None = None) -> Setup:
    """The recipe of a profile, or another one, on its device."""
    return Setup(profile, recipe or RECIPES[profile.name])


class TrainingText(NamedTuple):
    """What a model learns from, and how sentences become features."""

    sentences: text.Sentences
    vocabulary: Vocabulary
    corpus: Corpus
    features: Callable[[Corpus], Tensor]  # (N, F)


def training_text(
    dataset: str, n: int, size: int, dim: int, longest: int | None = None, **markers: Any
) -> TrainingText:
    """The first n sentences of a training split, and weighted averages of their word vectors."""
    whole = text.load(dataset, "train")
    sentences = text.Sentences(whole.texts[:n], whole.labels[:n])
    vocabulary = Vocabulary.build(sentences.texts, size, **markers)
    corpus = vocabulary.encode(sentences.texts, longest)
    options = {"vocabulary_size": len(vocabulary), "first_word": vocabulary.first_word}
    vectors = text.word_vectors(corpus.tokens, dim=dim, **options)
    weights = text.frequency_weights(corpus.tokens, **options)

    def features(corpus: Corpus) -> Tensor:
        return text.sentence_features(corpus.tokens, corpus.lengths, vectors, weights)

    return TrainingText(sentences, vocabulary, corpus, features)


class Plan(NamedTuple):
    """How one model is trained: by Adam, in batches of sentences of one length."""

    name: str
    steps: int
    batch_size: int
    learning_rate: float
    factor: Callable[[float], float]  # of the learning rate, from the share of steps that are done
    seed: int
    betas: tuple[float, float] = (0.9, 0.999)


def train(
    model: nn.Module,
    plan: Plan,
    tokens: Tensor,
    lengths: Tensor,
    loss: Callable[[Tensor, Tensor, torch.Generator, float], tuple[Tensor, dict[str, Tensor]]],
    profile: Profile,
) -> None:
    """Trains in place, on from an interrupted run in the work folder, and leaves no gradients."""
    places = length_batches(lengths, plan.batch_size, plan.seed)

    def batch(i: int) -> tuple[Tensor, Tensor, float]:
        chosen = places(i)
        width = int(lengths[chosen[0]])
        chosen = chosen.to(profile.device)
        return tokens[chosen, :width], chosen, i / plan.steps

    def step(state: TrainingState, batch: tuple[Tensor, Tensor, float]) -> dict[str, Tensor]:
        sentences, chosen, done = batch
        for group in state.optimizer.param_groups:
            group["lr"] = plan.learning_rate * plan.factor(done)
        value, terms = loss(sentences, chosen, state.generator, done)
        state.optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(state.model.parameters(), 5.0)
        state.optimizer.step()
        return {name: term.detach() for name, term in terms.items()}

    model.to(profile.device, profile.dtype)
    optimizer = torch.optim.Adam(model.parameters(), lr=plan.learning_rate, betas=plan.betas)
    generator = torch.Generator(profile.device).manual_seed(plan.seed)
    state = TrainingState(model, optimizer, generator)
    file = results.work_folder() / CHAPTER / profile.name / f"{plan.name}.safetensors"
    fit(step, batch, state, plan.steps, checkpoint=file, progress=False)
    model.eval().requires_grad_(False)


def own_sentences(dataset: str) -> list[str]:
    """Sentences of our own for the page, in the form of the data set."""
    if dataset == "reviews":
        return text.load(dataset, "test").texts[:6]
    return [text.tokenise(sentence) for sentence in OWN_SENTENCES]


def first_per_label(sentences: text.Sentences, n: int) -> text.Sentences:
    """The first n sentences of each label: a fixed list that nobody selected."""
    rows = [i for y in (0, 1) for i in (sentences.labels == y).nonzero()[:n, 0].tolist()]
    references = sentences.references and [sentences.references[i] for i in rows]
    return text.Sentences([sentences.texts[i] for i in rows], sentences.labels[rows], references)
