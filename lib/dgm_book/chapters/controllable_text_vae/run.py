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
            name = f"{prefix}{kind}-seed{seed}"
            yield s.get(name, codes.code_values, dataset, kind, seed, seed=seed)
    for n in s.recipe.steering.labels:
        yield steering.steered(s, n, seed)
    if first:
        yield page_model(s, seed)
        yield s.get(f"walk-seed{seed}", codes.walk_values, main, seed, seed=seed)


def page_model(s: Setup, seed: int) -> Result:
    """The first steering model with int8 weights, as the page runs it."""
    return s.get(f"page-seed{seed}", steering.page_values, s.recipe.dataset, seed, seed=seed)


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
