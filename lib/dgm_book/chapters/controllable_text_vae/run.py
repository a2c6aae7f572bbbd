"""Chapter 4's results: a simplex inside a text VAE, an ordinary text VAE, and a steering model."""

from collections.abc import Iterator
from typing import Any

from dgm.data import text
from dgm_book import results
from dgm_book.chapters.controllable_text_vae import codes, steering
from dgm_book.chapters.controllable_text_vae import judges as judging
from dgm_book.chapters.controllable_text_vae.judges import trained_judges
from dgm_book.chapters.controllable_text_vae.recipe import Recipe
from dgm_book.chapters.controllable_text_vae.training import Computed, Setup, setup
from dgm_book.profiles import Profile
from dgm_book.results import Result
from dgm_book.verification import check

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


def own_sentences(dataset: str) -> list[str]:
    """Sentences of our own for the page, in the form of the data set."""
    if dataset == "reviews":
        return text.load(dataset, "test").texts[:6]
    return [text.tokenise(sentence) for sentence in OWN_SENTENCES]


def context(profile: Profile) -> results.Context:
    """What this chapter's results share."""
    return setup(profile).context()


def run(
    profile: Profile, seed: int, first_seed: int = 0, recipe: Recipe | None = None
) -> Iterator[Result]:
    """Every result of one seed, one after the other: loaded, resumed or computed."""
    s = setup(profile, recipe)
    main, first = s.recipe.dataset, seed == first_seed
    for dataset in (main, *s.recipe.other_datasets) if first else (main,):
        prefix = "" if dataset == main else f"{dataset}-"
        if first:
            yield s.get(f"judges-{dataset}-seed0", judging.quality_values, dataset, seed=0)
            yield s.get(f"{prefix}controls", _controls, dataset)
        for kind in ("simplex", "ordinary", *["released"] * (first and dataset == main)):
            yield s.get(f"{prefix}{kind}-seed{seed}", _codes, dataset, kind, seed, seed=seed)
    for n in s.recipe.steering.labels:
        yield steered(s, n, seed)
    if first:
        yield page_model(s, seed)
        yield s.get(f"walk-seed{seed}", _walk, main, seed, seed=seed)


def steered(s: Setup, n_labels: int, seed: int) -> Result:
    """A steering model that learned from so many labels, measured."""
    settings = {"seed": seed, "n_labels": n_labels}
    name = f"steering-{n_labels}-seed{seed}"
    return s.get(name, _steering, s.recipe.dataset, n_labels, seed, **settings)


def page_model(s: Setup, seed: int) -> Result:
    """The first steering model with int8 weights, as the page runs it."""
    return s.get(f"page-seed{seed}", _page, s.recipe.dataset, seed, seed=seed)


def _controls(s: Setup, dataset: str) -> Computed:
    """The source itself, words swapped by a table, and people's rewrites."""
    judges, test = trained_judges(s, dataset), text.load(dataset, "test")
    table = judging.swap_table(text.load(dataset, "train"))
    rewrites = {
        "source copy": test.texts,
        "word swap": judging.swap_words(table, test.texts, 1 - test.labels),
        "people": test.references or [],
    }
    return {name: judging.measure_rewrites(judges, r, test) for name, r in rewrites.items()}, {}


def _codes(s: Setup, dataset: str, kind: str, seed: int) -> Computed:
    trained, judges = codes.trained_codes(kind, s, dataset, seed), trained_judges(s, dataset)
    measure = codes.ordinary_values if kind == "ordinary" else codes.simplex_values
    values, tensors = measure(trained, judges, dataset)
    return values | {"mapper": codes.mapper_values(trained, s.recipe.codes, seed)}, tensors


def _steering(s: Setup, dataset: str, n_labels: int, seed: int) -> Computed:
    model = steering.trained_steering(s, n_labels, seed)
    return steering.steering_values(model, trained_judges(s, dataset), s, n_labels)


def _page(s: Setup, dataset: str, seed: int) -> Computed:
    n_labels = s.recipe.steering.labels[0]
    values = steered(s, n_labels, seed).values
    threshold = values["test"][values["chosen"]]["threshold"]
    model = steering.trained_steering(s, n_labels, seed)
    return steering.page_values(model, trained_judges(s, dataset), s, threshold)


def _walk(s: Setup, dataset: str, seed: int) -> Computed:
    """Two straight walks from sentences of ours."""
    sources, judges = own_sentences(dataset), trained_judges(s, dataset)
    values: dict[str, Any] = {"sources": sources}
    tensors = {}
    for kind in ("ordinary", "simplex"):
        trained = codes.trained_codes(kind, s, dataset, seed)
        values[kind], columns = codes.walk_values(kind, trained, judges, dataset, sources)
        tensors |= columns
    return values, tensors


def verify(profile: Profile) -> list[dict[str, Any]]:
    """The page's model rewrites the test sentences anew; nothing is left to chance."""
    s = setup(profile)
    page = page_model(s, 0)
    model = steering.from_page(page.tensors, page.values["words"])
    test = text.load(s.recipe.dataset, "test")
    rewrites = steering.candidates(model, test, page.values["ladder"])
    texts = [r.text for r in steering.first_agreeing(rewrites, page.values["threshold"])]
    checks, measured = [], page.values["int8"]
    for name, targets in (("source", test.texts), ("reference", test.references)):
        what, published = f"page model, BLEU against the {name}", measured[f"bleu_{name}"]["mean"]
        checks.append(check(what, published, [judging.bleu(texts, targets or (), 2).mean], 0.5))
    return checks
