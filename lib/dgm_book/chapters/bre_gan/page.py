"""Chapter 3: GANs with and without BRE, in pairs that share seed, data and noise."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dgm.data.synthetic import MIXTURES, gaussian_mixture_2d
from dgm.measure import Interval
from dgm.nets.conv import generate
from dgm_book import jobs, profiles, results
from dgm_book.chapters.bre_gan import images, toys
from dgm_book.chapters.bre_gan.training import CHAPTER, GAN, noise
from dgm_book.claims import Claim, verdict
from dgm_book.results import Result
from dgm_book.statistics import format_difference as told
from dgm_book.statistics import is_above_zero as above_zero
from dgm_book.statistics import paired_difference
from dgm_book.verification import check

TITLE = "Binarized representation entropy"
ABSTRACT = "Cao et al. 2018, abstract"
BODY = "Cao et al. 2018, submission"
TRANSIENT = 5000  # steps, in the paper's table 1
EARLY, LATE = 0.2, 0.5  # of training: before is the start, after is convergence
METHODS = ("none", "bre")
COLOUR = ("cifar10", "normal", "batch", 1)  # the second data set's pair
LABELS = toys.LABELS
EXTENT = toys.EXTENT
Pairs = dict[str, list[Result]]  # method -> one result a seed


def context(profile: profiles.Profile) -> results.Context:
    """What this chapter's verification shares."""
    return images.context(profile, images.settings(profile).dataset)


def run(profile: profiles.Profile, seed: int, first_seed: int = 0) -> Iterator[Result]:
    """Every result of one seed; runs whose seeds go further are shared out over the profile's seeds."""
    s = images.settings(profile)
    if seed == first_seed:
        for dataset in s.sizes:
            yield images.judge(profile, dataset)
    mine = seed - first_seed
    for found in images.runs(profile):
        if found.seed == mine:
            yield images.dcgan(profile, found._replace(seed=seed))
    for method in METHODS:
        yield images.semi_supervised(profile, method, seed)
    for target, method, n in toys.runs(profile):
        if n % profile.n_seeds == mine:
            yield toys.toy(profile, target, method, n + first_seed)


class Chapter(NamedTuple):
    """All results of the chapter at one profile, as the notebook and the page use them."""

    profile: profiles.Profile
    dataset: str
    seeds: list[int]
    judges: dict[str, Result]  # dataset -> its classifier
    dcgans: dict[tuple[str, str, str, int], Pairs]  # dataset, regime, norm, width
    semi: Pairs
    toys: dict[str, Pairs]  # target -> method -> one result a seed


def chapter(profile_name: str = "auto", first_seed: int = 0) -> Chapter:
    """Load or compute the chapter; "auto" takes the largest profile that is published."""
    profile, found = jobs.load(run, profile_name, first_seed)
    s = images.settings(profile)
    seeds = list(range(first_seed, first_seed + profile.n_seeds))
    dcgans: dict[tuple[str, str, str, int], Pairs] = {}
    for r in images.runs(profile):
        key = (r.dataset, r.regime, r.norm, r.width)
        moved = r._replace(seed=r.seed + first_seed)
        dcgans.setdefault(key, {}).setdefault(r.method, []).append(found[moved.name])
    plane: dict[str, Pairs] = {}
    for target, method, n in toys.runs(profile):
        name = toys.name_of(target, method, n + first_seed)
        plane.setdefault(target, {}).setdefault(method, []).append(found[name])
    semi = {
        method: [found[images.semi_name(s.dataset, method, seed)] for seed in seeds]
        for method in METHODS
    }
    return Chapter(
        profile,
        s.dataset,
        seeds,
        {dataset: found[f"{dataset}-classifier"] for dataset in s.sizes},
        dcgans,
        semi,
        plane,
    )


def evidence(found: Chapter) -> dict[str, dict[str, list[Result]]]:
    """The results behind each figure and table of the page: for each of its parts those of all seeds."""
    toys = {target: p["none"] + p["bre"] for target, p in found.toys.items()}
    batch = (found.dataset, "batch", 1)
    trained = {key: p["none"] + p["bre"] for key, p in found.dcgans.items()}
    return {
        "plane": {"eight": [found.toys["eight"][m][0] for m in METHODS]},
        "pairs": {"eight": toys["eight"]},
        "targets": toys,
        "training": {k[1]: of for k, of in trained.items() if (k[0], *k[2:]) == batch},
        "images": {setting(key): of for key, of in trained.items()},
        "tiles": {
            key[0]: [p[m][0] for m in METHODS]
            for key, p in found.dcgans.items()
            if key[1:] == ("normal", "batch", 1)
        },
        "labels": {"semi": found.semi["none"] + found.semi["bre"]},
    }


def badge(found: Chapter, shown: str) -> str:
    """The badge of one figure or table, a key of `evidence`, from the results that it shows."""
    return results.badge(evidence(found)[shown], unit="pair", synthetic="points in the plane")


def setting(key: tuple[str, str, str, int]) -> str:
    """How DCGANs were trained, in words."""
    dataset, regime, norm, width = key
    return f"{dataset}, {regime}, {norm}" + f", width {width}" * (width > 1)


def final(result: Result) -> dict[str, Any]:
    """The last good measurement; of images, the one with all scores."""
    return result.values.get("final") or result.values["measured"][-1]


def over_training(result: Result, name: str) -> tuple[Tensor, Tensor]:
    """Steps (M,) and values (M,) of one measurement; those of training begin after the first steps."""
    rows = [row for row in result.values["measured"] if name in row]
    steps, values = ([row[key] for row in rows] for key in ("step", name))
    return torch.tensor(steps), torch.tensor(values, dtype=torch.float64)


def effect(
    pairs: Pairs, of: str | Callable[[Result], float], method: str = "bre", control: str = "none"
) -> Interval:
    """What BRE changes, as a paired difference over seeds, of a final measurement or a function of a run."""
    value = of if callable(of) else lambda r: final(r)[of]
    n = len(pairs[method])
    return paired_difference(*([value(r) for r in pairs[m][:n]] for m in (method, control)))


def mean_over(name: str, early: bool) -> Callable[[Result], float]:
    """A measurement's mean over the start of training, or over its second half.

    A run that stopped keeps its last value to the end, so that stopping early is no advantage.
    """

    def value(result: Result) -> float:
        steps, values = over_training(result, name)
        whole = result.values["planned"]
        at = torch.arange(1, whole["n"] + 1) * whole["every"]
        filled = torch.stack([values[steps <= t][-1] for t in at])
        share = at / at[-1]
        start = share <= max(EARLY, float(share[0]))
        return float(filled[start if early else share > LATE].mean())

    return value


def claims(found: Chapter) -> list[Claim]:
    """The chapter's claims with their verdicts, from the results."""
    eight, kind = found.toys["eight"], (found.dataset, "normal", "batch", 1)
    normal, aggressive = found.dcgans[kind], found.dcgans[(found.dataset, "aggressive", "batch", 1)]
    pieces = {h: effect(eight, f"pieces_{h}") for h in ("h2", "h3", "h4")}
    sets = {p: effect(normal, f"pair_{p}") for p in ("fake", "between", "real")}
    modes = effect(eight, mean_over("modes", early=False))
    quality = effect(eight, mean_over("high_quality", early=False))
    late = effect(normal, mean_over("class_score", early=False))
    distance = effect(normal, mean_over("frechet", early=False))
    rough = effect(aggressive, mean_over("class_score", early=False))
    rough_distance = effect(aggressive, mean_over("frechet", early=False))
    early = effect(normal, mean_over("class_score", early=True))
    error = effect(found.semi, lambda r: 100 * final(r)["error"])
    by_width, grown = _by_width(found)
    real = found.judges[found.dataset].values["real"]["class_score"]
    idle = pair_term(eight, "bre")
    steps = images.settings(found.profile).sizes[found.dataset].steps
    ours = "score of our own classifier"
    return [
        _claim(
            found,
            "In the plane, BRE makes the discriminator cut the input space into more pieces in layers 2 to 4",
            BODY,
            "eight Gaussians, pieces on a fixed grid, with minus without BRE: "
            + "; ".join(f"{h} {told(v, 1)}" for h, v in pieces.items()),
            _all([above_zero(v) for v in pieces.values()]),
            eight,
        ),
        _claim(
            found,
            "In the plane, training with BRE is steadier and reaches more of the data",
            BODY,
            f"eight Gaussians, second half of training: modes covered {told(modes)}, share of high-quality "
            f"samples {told(quality)}",
            _all([above_zero(modes), above_zero(quality)]),
            eight,
        ),
        _claim(
            found,
            "With ten units the pair term is idle: hardly any two patterns agree beyond its wide margin, so "
            "balance does the work",
            "derived here",
            f"eight Gaussians: the pair term is {idle} on average in training, summed over "
            "two sets; asked for: below 0.05",
            float(idle) < 0.05,
            eight,
        ),
        _claim(
            found,
            "Codes become less alike on fakes, between, and on real points that BRE never saw",
            BODY,
            f"{found.dataset}, mean |correlation| of two points' codes: "
            + "; ".join(f"{p} {told(v, 3)}" for p, v in sets.items()),
            _all([None if v.n == 1 else v.high < 0 for v in sets.values()]),
            normal,
        ),
        _claim(
            found,
            "BRE is slower at first (the dip in the start of training)",
            f"{BODY}, table 1",
            f"{found.dataset}, normal rate, {ours}, first {EARLY:.0%} of training: {told(early)}",
            None if early.n == 1 else early.high < 0,
            normal,
        ),
        _claim(
            found,
            "BRE improves samples at the normal learning rate",
            ABSTRACT,
            f"{found.dataset}, second half of training: {ours} {told(late)}, Frechet distance "
            f"{told(distance)} (lower is better){_short(found)}",
            _all([above_zero(late), None if distance.n == 1 else distance.high < 0]),
            normal,
        ),
        _claim(
            found,
            "BRE improves samples, or keeps training alive, at an aggressive learning rate",
            ABSTRACT,
            f"{found.dataset}, second half of training: {ours} {told(rough)}, Frechet distance "
            f"{told(rough_distance)}, {steps['aggressive']} steps in all; stopped early: "
            f"{_stopped(aggressive['none'])} without, {_stopped(aggressive['bre'])} with"
            + ", so keeping training alive was not tested"
            * (not _failures(aggressive["none"])),
            _all([above_zero(rough), None if rough_distance.n == 1 else rough_distance.high < 0]),
            aggressive,
        ),
        _claim(
            found,
            "The gain grows with the width of the discriminator",
            f"{BODY}, table 1",
            by_width,
            None if grown is None else above_zero(grown),
            {} if grown is None else normal,
        ),
        _claim(
            found,
            "BRE adds to other ways of taming a discriminator",
            "Cao et al. 2018, camera ready",
            f"{found.dataset}, Frechet distance at the end: {_crossed(found, 'spectral')}; "
            f"{_crossed(found, 'r1')} without and with BRE (real images {real:.2f})",
            None,
            found.dcgans[(found.dataset, "normal", "r1", 1)],
        ),
        _claim(
            found,
            "BRE improves CIFAR-10",
            ABSTRACT,
            _cifar(found),
            None,
            found.dcgans.get(COLOUR, {}),
        ),
        _claim(
            found,
            "BRE lowers the error of semi-supervised classification",
            ABSTRACT,
            f"{found.dataset}, {images.settings(found.profile).n_labelled} labels, test error in points: "
            f"{told(error)}",
            None if error.n == 1 else error.high < 0,
            found.semi,
        ),
    ]


def toy_gan(result: Result) -> GAN:
    """A published toy GAN."""
    gan = GAN(toys.paper.toy_generator(), toys.paper.toy_discriminator(), 2)
    gan.load_state_dict(result.tensors)
    return gan.requires_grad_(False)


def verify(profile: profiles.Profile) -> list[dict[str, Any]]:
    """Measure published generators again, with other noise; and linear pieces, which have none."""
    checks, n = [], 8
    s = toys.settings(profile)
    for method in METHODS:
        published = toys.toy(profile, "eight", method, 0)
        gan, mixture = toy_gan(published), gaussian_mixture_2d("eight", 1)
        again = [_high_quality(gan, mixture, seed) for seed in range(n)]
        checks.append(check(f"toy {method}, high quality", final(published)["high_quality"], again))
        pieces = toys.measure(gan, mixture, s.grid)["pieces_h2"]
        checks.append(check(f"toy {method}, pieces in h2", final(published)["pieces_h2"], [pieces]))
    dataset = images.settings(profile).dataset
    judge = images.judge(profile, dataset)
    test = images.pictures(dataset, "test").x
    model = images.Classifier((test.shape[1], test.shape[2]))
    model.load_state_dict(judge.tensors)
    model.eval().requires_grad_(False).to(profile.device)
    real, _ = images.read(model, test)
    size = images.settings(profile).sizes[dataset]
    for method in METHODS:
        published = images.dcgan(profile, images.Run(dataset, "normal", "batch", method, 0))
        network = images.networks(profile, dataset, 0, "batch").generator
        weights = {k: v for k, v in published.tensors.items() if k != "tiles"}
        network.load_state_dict(weights)
        again = []
        for seed in range(3):
            draw = torch.randn(
                size.n_samples, size.noise_dim, generator=torch.Generator().manual_seed(seed)
            )
            made = generate(network.requires_grad_(False), draw.to(profile.device))
            features, said = images.read(model, made)
            again.append(images.scores(real, features, said, whole=False)["frechet"])
        checks.append(
            check(f"{dataset} {method}, Frechet distance", final(published)["frechet"], again)
        )
    return checks


def page_targets() -> list[dict[str, Any]]:
    """The mixtures of the playground."""
    labels = {"eight": "eight spots", "ring": "ring", "grid": "grid", "spiral": "spiral"}
    found = {name: gaussian_mixture_2d(name, 1) for name in MIXTURES}
    return [
        {"name": name, "label": labels[name], "centres": m.centres, "sigma": m.sigma}
        for name, m in found.items()
    ]


def plane_of(result: Result, layer: int = 1, grid: int = 200) -> dict[str, Tensor]:
    """A toy's patterns in one layer as numbers (grid, grid), rows along the first coordinate, and samples."""
    gan = toy_gan(result)
    line = torch.linspace(-EXTENT, EXTENT, grid)
    points = torch.cartesian_prod(line, line)
    patterns = toys.paper.activation_patterns(gan.discriminator, points, [layer])
    _, numbers = patterns.unique(dim=0, return_inverse=True)
    return {"patterns": numbers.view(grid, grid), "samples": toys.samples(gan)[:400]}


def columns(pairs: Pairs, name: str) -> dict[str, list[float]]:
    """A final measurement of every seed, without and with BRE."""
    return {LABELS[m]: [final(r)[name] for r in pairs[m]] for m in METHODS}


def pair_term(pairs: Pairs, method: str) -> str:
    """The pair term's mean over seeds and training, summed over its two sets of points."""
    name = "training_activation_correlation"
    return f"{float(torch.cat([over_training(r, name)[1] for r in pairs[method]]).mean()):.4f}"


def tight(pairs: Pairs) -> str:
    """What a margin of 1 changes, in words; nothing where it was not run."""
    if "bre-tight" not in pairs:
        return ""
    modes = effect(pairs, "modes", "bre-tight", "bre")
    return (
        f" ({pair_term(pairs, 'bre-tight')}), and against a margin of 3 the modes covered change by "
        f"{told(modes)}"
    )


def plane_text(found: Chapter) -> dict[str, str]:
    """What the prose on the plane takes up."""
    eight = found.toys["eight"]
    ring = found.toys.get("ring")
    return {
        "idle": pair_term(eight, "bre"),
        "tight": tight(eight),
        "ring_said": f"On the ring BRE changes the modes covered by {told(effect(ring, 'modes'))}."
        if ring
        else "",
    }


def labels_text(found: Chapter) -> dict[str, str]:
    """What the prose on few labels takes up: errors in per cent, means over both methods and all seeds."""
    runs = [over_training(r, "error")[1][1:] for m in METHODS for r in found.semi[m]]
    least, last = (
        torch.stack([of(v) for v in runs]).mean() for of in (Tensor.min, lambda v: v[-1])
    )
    return {
        "labels": str(images.settings(found.profile).n_labelled),
        "least_error": f"{100 * least:.1f} %",
        "last_error": f"{100 * last:.1f} %",
    }


def told_images(found: Chapter) -> dict[str, str]:
    """What the prose on images takes up."""
    r1 = found.dcgans[(found.dataset, "normal", "r1", 1)]
    longest = max(images.settings(found.profile).sizes[found.dataset].steps.values())
    normal = found.dcgans[(found.dataset, "normal", "batch", 1)]
    aggressive = found.dcgans[(found.dataset, "aggressive", "batch", 1)]
    late, early = mean_over("frechet", early=False), mean_over("class_score", early=True)
    return {
        "alike": told(effect(normal, "pair_fake"), 3),
        "alike_real": told(effect(normal, "pair_real"), 3),
        "late_normal": told(effect(normal, late)),
        "late_aggressive": told(effect(aggressive, late)),
        "early": told(effect(normal, early)),
        "r1_scores": " and ".join(f"{final(r1[m][0])['class_score']:.2f}" for m in METHODS),
        "length_said": ""
        if longest >= TRANSIENT
        else f"Our longest run has {longest} steps, fewer than that: such runs can show the dip, and neither "
        "show nor refute the gain. Where the table at the end says that an improvement does not hold, "
        "read: not within these steps.",
    }


def told_setting(found: Chapter) -> str:
    """What images the chapter is about, in words."""
    name = {"digits": "8 x 8 digits", "mnist": "MNIST", "cifar10": "CIFAR-10"}[found.dataset]
    size = images.settings(found.profile).sizes[found.dataset]
    steps = " or ".join(f"{n} steps at the {regime} rate" for regime, n in size.steps.items())
    widths = ", ".join(str(c) for c in size.discriminator)
    return f"{name}, with a discriminator of {widths} channels, {steps}"


def _high_quality(gan: GAN, mixture, seed: int) -> float:
    samples = gan.generator(noise(toys.N_SAMPLES, gan, seed, 1, "cpu"))
    return toys.paper.mode_coverage(samples, mixture.centres, mixture.sigma).high_quality


def _all(parts: list[bool | None]) -> bool | None:
    return None if any(p is None for p in parts) else all(parts)


def _short(found: Chapter) -> str:
    """What to keep in mind where a run ends before the paper's transient phase does."""
    steps = images.settings(found.profile).sizes[found.dataset].steps["normal"]
    if steps >= TRANSIENT:
        return ""
    return (
        f"; all {steps} steps lie within the {TRANSIENT} that the paper calls transient, so a gain "
        "after them is neither shown nor refuted"
    )


def _failures(runs: list[Result]) -> int:
    return sum(r.values["stopped"] is not None for r in runs)


def _stopped(runs: list[Result]) -> str:
    return f"{_failures(runs)} of {len(runs)}"


def _crossed(found: Chapter, norm: str) -> str:
    """What BRE changes with another norm or penalty, and from where: a run that never learned shows."""
    pairs = found.dcgans[(found.dataset, "normal", norm, 1)]
    scores = " and ".join(f"{final(pairs[m][0])['class_score']:.2f}" for m in METHODS)
    return f"{norm} {told(effect(pairs, 'frechet'))}, class scores {scores}"


def _cifar(found: Chapter) -> str:
    pairs = found.dcgans.get(COLOUR)
    if pairs is None:
        return "not run at this profile"
    score, distance = effect(pairs, "class_score"), effect(pairs, "frechet")
    steps = images.settings(found.profile).sizes["cifar10"].steps["normal"]
    return (
        f"two of five training batches, {steps} steps: score of our own classifier {told(score)}, "
        f"Frechet distance {told(distance)}"
    )


def _by_width(found: Chapter) -> tuple[str, Interval | None]:
    """The gain at each width in words, and the widest's less that of width 1, pair by pair."""
    kind, value = (found.dataset, "normal", "batch"), mean_over("class_score", early=False)
    pairs = {key[3]: p for key, p in sorted(found.dcgans.items()) if key[:3] == kind}
    if len(pairs) == 1:
        return "wider discriminators were not run", None
    gains = {
        w: [value(a) - value(b) for a, b in zip(p["bre"], p["none"], strict=True)]
        for w, p in pairs.items()
    }
    widest = max(gains)
    grown = paired_difference(gains[widest], gains[1])
    each = "; ".join(f"width {w} {told(effect(p, value))}" for w, p in pairs.items())
    return (
        f"{found.dataset}, second half of training, score of our own classifier: {each}; width {widest} "
        f"minus width 1 {told(grown)}",
        grown,
    )


def _claim(
    found: Chapter, text: str, source: str, measured: str, holds: bool | None, pairs: Pairs
) -> Claim:
    n = results.scale({"": pairs["bre"]}, unit="pair") if pairs else "no pairs"
    scale = f"profile {found.profile.name}, {n}"
    return Claim("", CHAPTER, TITLE, text, source, measured, scale, verdict(holds))
