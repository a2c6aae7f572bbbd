"""Chapter 4: a simplex inside a text VAE, an ordinary text VAE beside it, and a model that readers steer."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dgm.data import text
from dgm.papers.controllable_text_vae import LossWeights
from dgm_book import jobs, profiles, results
from dgm_book.chapters.controllable_text_vae import steering
from dgm_book.chapters.controllable_text_vae.codes import (
    MANIPULATIONS,
    WALK,
    context,
    context_of,
    first_of_each,
    ordinary,
    own_sentences,
    prefix,
    settings,
    simplex,
    walk,
)
from dgm_book.chapters.controllable_text_vae.judges import (
    CHAPTER,
    content,
    judges,
    quality,
    word_swap,
)
from dgm_book.claims import Claim, verdict
from dgm_book.results import Result

TITLE = "Steering a sentence"
ABSTRACT = "Xu et al. 2020, abstract"


def steered(profile: profiles.Profile, n_labels: int, seed: int) -> Result:
    """The steering model: its frontier, its chosen point, and the first rewrites there."""
    dataset = settings(profile).dataset

    def compute() -> tuple[dict, dict]:
        model = steering.trained(profile, n_labels, seed)
        values, texts = steering.steered(model, judges(profile, dataset), dataset, n_labels)
        labels = text.load(dataset, "test").labels
        validation = steering.some_of_each(text.load(dataset, "validation"), 500)
        tokens = model.vocabulary.encode(validation.texts, 30).tokens
        words = steering.words_of(tokens, model.vocabulary).to(profile.device)
        values["rewrites"] = first_of_each(texts, labels)
        return values, {"p": model.read(words).p, "labels": validation.labels}

    name = f"steering-{n_labels}-seed{seed}"
    return results.get(name, compute, context(profile), seed=seed, n_labels=n_labels)


def page_model(profile: profiles.Profile, seed: int) -> Result:
    """The first steering model with int8 weights, as the page runs it, measured like the others."""
    dataset, n_labels = settings(profile).dataset, steering.settings(profile).labels[0]

    def compute() -> tuple[dict, dict]:
        model, judge = steering.trained(profile, n_labels, seed), judges(profile, dataset)
        found = steered(profile, n_labels, seed).values
        threshold = found["test"][found["chosen"]]["threshold"]
        made = steering.candidates(model, text.load(dataset, "test"))
        whole = [r.text for r in steering.first_agreeing(made, threshold)]
        return steering.page_model(model, judge, dataset, threshold, whole)

    return results.get(f"page-seed{seed}", compute, context(profile), seed=seed)


def controls(profile: profiles.Profile, dataset: str | None = None) -> Result:
    """What needs no model: the source itself, words swapped by a table, and people's rewrites."""
    dataset = dataset or settings(profile).dataset

    def compute() -> tuple[dict, dict]:
        judge, test = judges(profile, dataset), text.load(dataset, "test")
        swap = word_swap(text.load(dataset, "train"))
        return {
            "source copy": steering.measured(judge, test.texts, test),
            "word swap": steering.measured(judge, swap(test.texts, 1 - test.labels), test),
            "people": steering.measured(judge, test.references, test),
        }, {}

    name = f"{prefix(profile, dataset)}controls"
    return results.get(name, compute, context_of(profile, dataset))


def run(profile: profiles.Profile, seed: int, first_seed: int = 0) -> Iterator[Result]:
    """Every result of one seed, one after the other: loaded, resumed or computed.

    Judges, controls, the page's model and the second data set belong to the first seed alone.
    """
    dataset = settings(profile).dataset
    if seed == first_seed:
        yield quality(profile, dataset)
        yield controls(profile)
    for n_labels in steering.settings(profile).labels:
        yield steered(profile, n_labels, seed)
    yield simplex(profile, seed)
    yield ordinary(profile, seed)
    if seed == first_seed:
        yield simplex(profile, seed, kind="released")
        yield page_model(profile, seed)
        yield walk(profile, seed)
        for other in second_datasets(profile):
            yield quality(profile, other)
            yield controls(profile, other)
            yield simplex(profile, seed, other)
            yield ordinary(profile, seed, other)


def second_datasets(profile: profiles.Profile) -> tuple[str, ...]:
    """Data sets that the two models are trained on once more, with one seed."""
    return () if profile.name == "smoke" else ("amazon",)


class Chapter(NamedTuple):
    """All results of the chapter at one profile, as the notebook and the page use them."""

    profile: profiles.Profile
    dataset: str
    seeds: list[int]
    labels: tuple[int, ...]
    scale: str
    judges: dict[str, Result]  # by data set
    controls: dict[str, Result]
    steering: dict[int, list[Result]]  # by number of labels, a result a seed
    simplex: list[Result]
    released: Result
    ordinary: list[Result]
    others: dict[str, dict[str, Result]]  # data set -> "simplex", "ordinary"
    page: Result
    walk: Result


def chapter(profile_name: str = "auto", first_seed: int = 0) -> Chapter:
    """Load or compute the chapter; "auto" takes the largest profile that is published."""
    profile, found = jobs.load(run, profile_name, first_seed)
    dataset, labels = settings(profile).dataset, steering.settings(profile).labels
    seeds = list(range(first_seed, first_seed + profile.n_seeds))
    others = second_datasets(profile)
    scale = (
        f"{found['controls'].values['source copy']['n']} test sentences, {_count(seeds, 'seed')}"
    )
    return Chapter(
        profile,
        dataset,
        seeds,
        labels,
        scale,
        {name: found[f"judges-{name}-seed0"] for name in (dataset, *others)},
        {name: found[f"{prefix(profile, name)}controls"] for name in (dataset, *others)},
        {n: [found[f"steering-{n}-seed{seed}"] for seed in seeds] for n in labels},
        [found[f"simplex-seed{seed}"] for seed in seeds],
        found[f"released-seed{first_seed}"],
        [found[f"ordinary-seed{seed}"] for seed in seeds],
        {
            name: {k: found[f"{name}-{k}-seed{first_seed}"] for k in ("simplex", "ordinary")}
            for name in others
        },
        found[f"page-seed{first_seed}"],
        found[f"walk-seed{first_seed}"],
    )


def _count(things: list, what: str) -> str:
    return f"{len(things)} {what}{'s' * (len(things) > 1)}"


TARGETS = {2000: (82.0, 55.0, 25.0, 1.25), 200: (78.0, 48.0, None, None)}  # of the worst seed


def chosen(result: Result) -> dict[str, Any]:
    """A steering result's measurements on the test set, at the point that validation chose."""
    return result.values["test"][result.values["chosen"]]


class Worst(NamedTuple):
    """The worst seed in each measure; perplexity as a multiple of the sources'."""

    accuracy: float
    bleu_source: float
    bleu_reference: float
    perplexity: float


def worst(found: Chapter, n_labels: int) -> Worst:
    """The steering model's worst seeds at their chosen points."""
    points = [chosen(r) for r in found.steering[n_labels]]
    sources = found.controls[found.dataset].values["source copy"]["perplexity"]["mean"]
    low = {
        k: min(p[k]["mean"] for p in points) for k in ("accuracy", "bleu_source", "bleu_reference")
    }
    return Worst(**low, perplexity=max(p["perplexity"]["mean"] for p in points) / sources)


def over_seeds(found: list[Result], *path: str) -> Tensor:
    """One number of each seed's values, (S,), reached by keys."""
    values = []
    for result in found:
        node = result.values
        for key in path:
            node = node[key]
        values.append(float(node))
    return torch.tensor(values, dtype=torch.float64)


def told(values: Tensor, digits: int = 1) -> str:
    """Values of a few seeds in words: all of them, since three are too few for an interval."""
    return " / ".join(f"{v:.{digits}f}" for v in values.tolist())


LEAST_KEPT = 5.0  # BLEU of own sentences, below which a model's decoder does not read its code


def own_sentences_kept(found: Chapter) -> dict[str, Tensor]:
    """BLEU of test sentences that the two models merely encode and decode, (S,) each."""
    kinds = {"ordinary": found.ordinary, "simplex": found.simplex}
    return {k: over_seeds(r, "reconstruction", "bleu_source", "mean") for k, r in kinds.items()}


def training_steps(found: Chapter) -> dict[str, int]:
    """How long the paper's model was trained, by the weights of its losses."""
    steps = settings(found.profile).steps
    return {"own": steps, "released": steps // 4}


def kl_weights(found: Chapter) -> str:
    """The weights of the KL of the simplex block and of the other one, ours and the released ones."""
    ours, released = settings(found.profile).weights, LossWeights()
    return (
        f"{ours.structured:g} and {ours.residual:g} for the KL of the two blocks, in place of "
        f"{released.structured:g} and {released.residual:g}"
    )


def page_text(found: Chapter) -> dict[str, str]:
    """Sentences and numbers of the page that the results decide."""
    turned = {
        kind: int(((read[:, 0] < 0.5) & (read[:, -1] > 0.5)).sum())
        for kind in ("ordinary", "simplex")
        for read in [found.walk.tensors[f"{kind}.reading"]]
    }
    n = len(found.walk.values["sources"])
    return {
        "threshold": f"{found.page.values['threshold']:g}",
        "least_kept": f"{LEAST_KEPT:g}",
        "kl_weights": kl_weights(found),
        "steps": str(training_steps(found)["own"]),
        "released_steps": str(training_steps(found)["released"]),
        "released_purity": f"{found.released.values['vertices']['purity']:.3f}",
        "walk_ends": f"of these {n} sentences the number that turn from negative to positive between the "
        f"two ends is {turned['simplex']} on the simplex and {turned['ordinary']} along the ordinary "
        "VAE's dimension",
        "turned_unmoved": " and ".join(
            f"{told(over_seeds(runs, 'reconstruction', 'accuracy', 'mean'))} % ({name})"
            for name, runs in (("simplex", found.simplex), ("ordinary VAE", found.ordinary))
        ),
        "mapper_pieces": "; ".join(
            f"the {name} has {_pieces(runs)}"
            for name, runs in (("ordinary VAE", found.ordinary), ("simplex", found.simplex))
        ),
        "n_rewrites": str(len(found.steering[found.labels[0]][0].values["rewrites"]) // 2),
    }


def _pieces(runs: list[Result]) -> str:
    """Pieces and nodes of Mapper graphs at the coarsest and the finest slices, means over seeds."""
    ends = list(runs[0].values["mapper"])[:: len(runs[0].values["mapper"]) - 1]
    return " and ".join(
        f"{pieces:.1f} pieces with {nodes:.1f} nodes in all at {r} slices"
        for r in ends
        for pieces, nodes in [
            [
                float(over_seeds(runs, "mapper", r, key).mean())
                for key in ("n_components", "n_nodes")
            ]
        ]
    )


def claims(found: Chapter) -> list[Claim]:
    """The chapter's claims with their verdicts, from the results."""
    extremum = over_seeds(
        found.ordinary, "shift", "extremum", "log_of_mean", "in_standard_deviations"
    )
    two = over_seeds(found.ordinary, "shift", "2 s.d.", "log_of_mean", "in_standard_deviations")
    vertex = over_seeds(found.simplex, "shift", "log_of_mean", "in_standard_deviations")
    nats = over_seeds(found.simplex, "shift", "log_of_mean", "shift", "mean")
    purity = over_seeds(found.simplex, "vertices", "purity")
    chance = over_seeds(found.simplex, "vertices", "chance")
    count = found.simplex[0].tensors["labels"].numel()
    error = torch.sqrt(chance * (1 - chance) / count)
    collisions = sum(r.values["vertices"]["collision"] for r in found.simplex)
    moved = {k: over_seeds(found.simplex, "vertex", k, "mean") for k in ("accuracy", "bleu_source")}
    ordinary = {
        name: {
            k: over_seeds(found.ordinary, "manipulations", name, k, "mean")
            for k in ("accuracy", "bleu_source")
        }
        for name in MANIPULATIONS
    }
    best = max(ordinary, key=lambda name: float(ordinary[name]["accuracy"].mean()))
    swap = found.controls[found.dataset].values["word swap"]
    reference = over_seeds(found.simplex, "vertex", "bleu_reference", "mean")
    released, steps = found.released.values, training_steps(found)
    own = own_sentences_kept(found)
    # A code that the decoder hardly reads has no islands and no water.
    reads = min(float(v.min()) for v in own.values()) >= LEAST_KEPT
    unread = "" if reads else (
        f"; not tested: own sentences come back at BLEU {told(own['ordinary'])} (ordinary) and "
        f"{told(own['simplex'])} (simplex), and a code that is hardly read has no holes"
    )  # fmt: skip
    made = [
        _claim(
            found,
            "Moving a factor of an ordinary text VAE takes its code to places that training never saw",
            ABSTRACT,
            "shift of the negative log of the mean density, in standard deviations, by seed: "
            f"{told(two, 2)} at 2 s.d., {told(extremum, 2)} at the extremum; asked for: the extremum "
            f"beyond 1 for every seed{unread}",
            bool((extremum > 1).all()) if reads else None,
        ),
        _claim(
            found,
            "On the simplex every manipulation stays where the decoder was trained",
            ABSTRACT,
            f"the same for a vertex: {told(vertex, 2)} ({told(nats)} nats); asked for: below the "
            f"ordinary VAE's extremum for every seed, and below 1{unread}",
            bool((vertex < extremum).all() and (vertex < 1).all()) if reads else None,
        ),
        _claim(
            found,
            "Without labels, vertices come to stand for sentiment",
            ABSTRACT,
            f"purity on {count} validation sentences, by seed: {told(purity, 3)}, chance "
            f"{float(chance[0]):.3f}; {collisions} of {len(purity)} seeds have both labels on one; asked "
            "for: above chance by four standard errors for every seed",
            bool((purity > chance + 4 * error).all()),
        ),
        _claim(
            found,
            "The released weights of the losses fill the simplex",
            "released code",
            f"spread (0 all alike, 1 all on vertices): {released['dispersion']['spread']:.3f} with the "
            f"released weights, all else as in our runs but the steps, {steps['released']} of "
            f"{steps['own']} (one seed; own sentences come back at BLEU "
            f"{released['reconstruction']['bleu_source']['mean']:.1f}, and a vertex lies "
            f"{released['shift']['log_of_mean']['shift']['mean']:.0f} nats further out than the codes), "
            f"{told(over_seeds(found.simplex, 'dispersion', 'spread'), 2)} with ours, "
            f"{kl_weights(found)}; asked for: at least 0.1",
            released["dispersion"]["spread"] >= 0.1,
        ),
        _claim(
            found,
            "It controls sentiment better than unsupervised baselines",
            ABSTRACT,
            f"accuracy {told(moved['accuracy'])} % at BLEU-source {told(moved['bleu_source'])}; the "
            f"ordinary VAE at its best ({best}) {told(ordinary[best]['accuracy'])} % at "
            f"{told(ordinary[best]['bleu_source'])}; asked for: more accurate, at no lower BLEU{unread}",
            bool(
                (moved["accuracy"] > ordinary[best]["accuracy"]).all()
                and (moved["bleu_source"] >= ordinary[best]["bleu_source"]).all()
            )
            if reads
            else None,
        ),
        _claim(
            found,
            "It is competitive with supervised style transfer",
            ABSTRACT,
            f"BLEU against people's rewrites {told(reference)}; swapping words by a table made from labels "
            f"{swap['bleu_reference']['mean']:.1f} at {swap['accuracy']['mean']:.1f} % accuracy; asked for: "
            f"no lower than the table, in both{unread}",
            bool(
                (reference >= swap["bleu_reference"]["mean"]).all()
                and (moved["accuracy"] >= swap["accuracy"]["mean"]).all()
            )
            if reads
            else None,
        ),
        _claim(
            found,
            "Topics of news can be switched in mid-sentence",
            ABSTRACT,
            "the news data set is not among ours; the page switches sentiment in mid-sentence",
            None,
        ),
    ]
    for n in found.labels:
        if n in TARGETS:
            made.append(_steering_claim(found, n))
    page = found.page.values
    made.append(
        _claim(
            found,
            "The model in the page is the model that was measured",
            "this book",
            f"int8 weights ({page['bytes'] / 1e6:.2f} MB) leave {page['unchanged_by_int8']} of {page['n']} "
            f"rewrites as they were; accuracy {page['int8']['accuracy']['mean']:.1f} %, BLEU-source "
            f"{page['int8']['bleu_source']['mean']:.1f}; asked for: 95 % unchanged",
            page["unchanged_by_int8"] >= 0.95 * page["n"],
        )
    )
    return made


def _steering_claim(found: Chapter, n_labels: int) -> Claim:
    low, wanted = worst(found, n_labels), TARGETS[n_labels]
    holds = low.accuracy >= wanted[0] and low.bleu_source >= wanted[1]
    text_ = f"at least {wanted[0]:.0f} % at BLEU-source {wanted[1]:.0f}"
    if wanted[2] is not None:
        holds = holds and low.bleu_reference >= wanted[2] and low.perplexity <= wanted[3]
        text_ += (
            f", BLEU-reference {wanted[2]:.0f}, perplexity at most {wanted[3]} times the sources'"
        )
    return _claim(
        found,
        f"With {n_labels} labels and latents for words, a sentence keeps its content when steered",
        "this book",
        f"worst of {len(found.seeds)} seeds: accuracy {low.accuracy:.1f} %, BLEU-source "
        f"{low.bleu_source:.1f}, BLEU-reference {low.bleu_reference:.1f}, perplexity "
        f"{low.perplexity:.2f} times the sources'; asked for: {text_}",
        holds,
    )


def _claim(found: Chapter, text_: str, source: str, measured: str, holds: bool | None) -> Claim:
    scale = f"profile {found.profile.name}, {found.dataset}, {found.scale}"
    return Claim("", CHAPTER, TITLE, text_, source, measured, scale, verdict(holds))


def verify(profile: profiles.Profile) -> list[dict[str, Any]]:
    """The page's model rewrites the test sentences again; greedy decoding leaves no room for chance."""
    page = page_model(profile, 0)
    model = steering.from_page(page.tensors, page.values["words"])
    test = text.load(settings(profile).dataset, "test")
    kept = steering.first_agreeing(steering.candidates(model, test), page.values["threshold"])
    found = content([r.text for r in kept], test.texts, test.references)
    return [
        {
            "what": f"page model, BLEU against the {name}",
            "published": page.values["int8"][f"bleu_{name}"]["mean"],
            "recomputed": again.mean,
            "standard_error": page.values["int8"][f"bleu_{name}"]["standard_error"] / 4,
            "ok": abs(again.mean - page.values["int8"][f"bleu_{name}"]["mean"]) < 0.5,
        }
        for name, again in (("source", found.source), ("reference", found.reference))
    ]


def steering_model(profile_name: str = "auto") -> steering.SteeringModel:
    """The published steering model, the very one that runs in the page, for `steer`."""
    return page_steering(chapter(profile_name))[0]


def page_steering(found: Chapter) -> tuple[steering.SteeringModel, dict[str, Any], list[dict]]:
    """The model that the page runs, its arrays, and golden rewrites that tie the page to PyTorch."""
    page = found.page
    model = steering.from_page(page.tensors, page.values["words"])
    arrays = {k: v.numpy() for k, v in steering.page_arrays(page.tensors).items()}
    golden = []
    for i, sentence in enumerate(own_sentences(found.dataset)):
        weights = [0.0, 0.0, 1.0] if i % 2 else [1.0, 0.0, 0.0]
        how = {"margins": page.values["ladder"], "threshold": page.values["threshold"]}
        golden.append(
            {"sentence": sentence, "weights": weights, **how}
            | {"rewrite": model.rewrite(sentence, weights, **how)}
        )
    return model, arrays, golden


def page_walks(found: Chapter) -> list[dict[str, Any]]:
    """The two walks with their densities, for the widget that shows them."""
    walked, steps = found.walk, WALK.tolist()
    kinds = {
        "ordinary": (
            "ordinary VAE",
            "sentiment dimension, in standard deviations from its mean",
            steps,
        ),
        "simplex": (
            "simplex",
            "weight of the positive vertex, the rest on the negative one",
            [(s - steps[0]) / (steps[-1] - steps[0]) for s in steps],
        ),
    }
    models = []
    for kind, (label, axis, places) in kinds.items():
        original = {"simplex": found.simplex, "ordinary": found.ordinary}[kind][0].tensors
        models.append(
            {
                "label": label,
                "axis": axis,
                "steps": places,
                "sentences": walked.values[kind],
                "log_mean": walked.tensors[f"{kind}.log_of_mean"].numpy(),
                "mean_log": walked.tensors[f"{kind}.mean_of_logs"].numpy(),
                "original": {
                    "log_mean": original["original.log_of_mean"].numpy(),
                    "mean_log": original["original.mean_of_logs"].numpy(),
                },
                "reading": walked.tensors[f"{kind}.reading"].numpy(),
                "baseline": kind == "ordinary",
            }
        )
    return models
