"""Chapter 1: its plan, damage and claims on made-up results, its page and verification on trained ones."""

import json
import math
import os
import re
import shutil
from pathlib import Path

import pytest
import records
import torch
from torch import nn

from dgm.papers.rate_distortion import linear_gaussian_curve, rate_distortion_curve
from dgm_book import __main__ as command
from dgm_book import figures, jobs, profiles, results, widgets
from dgm_book.chapters import CHAPTERS, all_claims
from dgm_book.chapters.rate_distortion import curves, training
from dgm_book.chapters.rate_distortion import explorer as page
from dgm_book.chapters.rate_distortion import page as experiment
from dgm_book.results import Result

SMALL = profiles.get("small", "cpu")
# Where `make test` has just trained the chapter at smoke size.
SMOKE_RESULTS = os.environ.get("DGM_RESULTS")
CHAPTER = "01_rate_distortion"


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """A copy of the chapter's smoke results, trained here if they are not there."""
    patch = pytest.MonkeyPatch()
    folder = tmp_path_factory.mktemp("results")
    patch.setenv("DGM_RESULTS", str(folder))
    if SMOKE_RESULTS and (Path(SMOKE_RESULTS) / CHAPTER / "smoke").exists():
        shutil.copytree(Path(SMOKE_RESULTS) / CHAPTER, folder / CHAPTER)
    assert command.main(["rate_distortion", "--profile", "smoke"]) == 0
    yield profiles.get("smoke")
    patch.undo()


# Made-up results that agree with every claim.

BETA = torch.tensor([0.01, 1.0, 30.0, 300.0, 3000.0], dtype=torch.float64)
N = 6


def made(name, level=0.0, dimension=10, floor=0.0, values=None, spread=0.01, **more):
    """A curve that goes down to a floor at k / 2 nats a factor e of beta, with log Z lower by a level."""
    wiggle = spread * torch.arange(N, dtype=torch.float64) + torch.zeros(len(BETA), 1)
    distortion = 60 / (1 + BETA) + dimension / (2 * BETA + 1) + floor * BETA / (1 + BETA)
    rate = 0.5 * dimension * torch.log1p(BETA)
    log_z = -rate - BETA * distortion - level
    tensors = {"beta": BETA}
    tensors |= {
        key: of[:, None] + wiggle
        for key, of in (("rate", rate), ("distortion", distortion), ("log_z", log_z))
    }
    tensors["ess"] = torch.full((len(BETA), N), 3.0)
    tensors |= {key: torch.as_tensor(value) for key, value in more.items()}
    model, *ending = name.split("-seed")
    colour = model in training.MODELS and training.MODELS[model].colour
    provenance = {
        "seed": int(ending[0][0]) if ending else 0,
        "profile": "small",
        "device": "a machine",
        "data": {"cifar10" if colour else "mnist": "a checksum"},
    }
    return Result(name, {"shape": [28, 28], **(values or {})}, tensors, provenance, True)


FLOORS = {
    "vae2": 25.0,
    "gan2": 30.0,
    "vae10": 5.0,
    "vae100": 2.0,
    "gan10": 15.0,
    "gan10-shallow": 18.0,
    "aae10": 9.0,
    "dcgan10-gp": 90.0,
    "dcgan10-vanilla": 70.0,
}


def of_name(name):
    """A result that agrees with every claim."""
    model, rest = name.split("-seed")
    seed, what = rest.split("-", 1)
    seed = int(seed)
    dimension = training.MODELS[model].latent_dim
    if what == "curve":
        return made(name, dimension=dimension, floor=FLOORS[model] + 0.1 * seed)
    if what == "truth":
        return made(name, dimension=dimension, floor=FLOORS[model], spread=0.02)
    if what.startswith("bdmc"):
        gap = {"beta": float(what[5:]), "gap": 0.2, "standard_error": 0.1, "n_images": 16}
        return made(name, values=gap)
    if what == "cost":
        return made(name, values={"curve": [1.0, 1.02], "likelihood": [1.0, 1.01]})
    if what == "schedule-limits":
        sums = {"adaptive": [[5.0, 3.0, 1.0]] * 3, "sigmoid": [[10.0, 10.0, 10.0]] * 3}
        return made(name, **{f"{k}.log_weight_variance": torch.tensor(v) for k, v in sums.items()})
    if what.startswith("schedules"):
        variance = {"sigmoid": 4.0, "default": 1.5, "adaptive": 1.0}
        extra = {
            f"{k}.log_weight_variance": torch.full((3, 5, N), v) * (1 + 0.01 * torch.rand(3, 1, 1))
            for k, v in variance.items()
        }
        return made(name, values={"n_temperatures": int(what[9:].split("-")[0])}, **extra)
    if what == "encoder":
        return made(name, floor=5.0, spread=0.02)
    if what.startswith("mixture"):
        alpha = float(what[7:])
        return made(name, level=-0.9 * math.log1p(-alpha), values={"alpha": alpha})
    if what.startswith("blur"):
        blur = float(what[4:].split("-")[0])
        return made(name, level=4.0 * ("wide" in what), floor=0.0 if not blur else 3 * blur)
    if what == "features":
        floor = {"gan10": 8.0, "aae10": 3.0}.get(model, 0.0) + 0.01 * seed
        return made(name, floor=floor, values={"accuracy": 0.98})
    if what in ("seen", "unseen"):
        level = {"vae10-few": 40.0, "vae10-short": 20.0}.get(model, 0.0) * (what == "unseen")
        found = made(name, level=level + 0.1 * seed, values={"dropped": [True] * 2 + [False] * 4})
        if model == "vae10-dropped":
            found.tensors["log_z"][:, :2] -= 30.0
        return found
    if what.startswith("again"):
        return made(name, level=1e-4 * int(what[5:]))
    return made(name)


@pytest.fixture
def small():
    """The chapter at the small profile, from made-up results."""
    found = {name: of_name(name) for name, _ in curves.jobs(SMALL)}

    def of(what):
        return {
            m: [found[f"{m}-seed{seed}-{what}"] for seed in range(n)]
            for m, n in curves.main_models(SMALL).items()
        }

    s = training.settings(SMALL)
    gaps = {
        m: [found[f"{m}-seed0-bdmc-{b:g}"] for b in curves.gap_betas(m, s)]
        for m in curves.WITH_GAPS
    }
    scale = "6 test images, 3 seeds"
    return experiment.Chapter(
        SMALL, "mnist", (28, 28), [0, 1, 2], scale, of("training"), of("curve"), gaps, found
    )


def verdict(found, words):
    (one,) = [c for c in experiment.claims(found) if words in c.claim]
    return one.verdict


class TestPlan:
    @pytest.mark.parametrize("name", profiles.NAMES)
    def test_every_result_has_one_name_and_a_model(self, name):
        found = [result for result, _ in curves.jobs(profiles.get(name, "cpu"))]
        assert len(set(found)) == len(found)
        assert {n.split("-seed")[0] for n in found} <= set(training.MODELS)

    @pytest.mark.parametrize("first", [0, 2])
    def test_every_result_comes_with_one_seed(self, monkeypatch, tmp_path, first):
        monkeypatch.setenv("DGM_RESULTS", str(tmp_path))
        expected = [name for name, _ in curves.jobs(SMALL, first)]
        computed = results.missing(jobs.over_seeds(curves.run, first)(SMALL))
        assert sorted(name for name, _ in computed) == sorted(expected)

    def test_small_holds_what_is_asked_and_paper_all_models(self):
        several = {m: n for m, n in curves.main_models(SMALL).items() if n == 3}
        asked = {"vae2", "vae10", "gan10", "gan10-shallow", "aae10", "dcgan10-gp"}
        assert set(several) == {*asked, "dcgan10-vanilla"}
        assert {"vae100", "gan2"} <= set(curves.main_models(SMALL))
        paper = curves.main_models(profiles.get("paper", "cpu"))
        assert {"gan5", "gan100-shallow", "aae100", "dcgan100-bre", "dcgan10-sn"} <= set(paper)

    def test_paper_and_small_sizes(self):
        small = training.settings(SMALL)
        assert small.hidden == (256, 256)
        assert (small.n_images, small.n_chains, small.n_leapfrog) == (50, 16, 10)
        assert 1900 < small.temperatures_per_beta * len(small.betas) < 2100
        paper = training.settings(profiles.get("paper", "cpu"))
        assert paper.hidden == (1024, 1024, 1024)
        assert (paper.n_images, paper.n_chains, paper.n_leapfrog) == (50, 40, 20)
        assert paper.temperatures_per_beta * len(paper.betas) == 60_000
        assert float(paper.betas[-1]) == 36_000

    def test_the_chapter_has_one_name(self):
        assert CHAPTERS["rate_distortion"] == experiment.CHAPTER == CHAPTER

    def test_damaged_models_see_less(self):
        smoke = profiles.get("smoke")
        whole = len(training.training_images(smoke, "vae10"))
        dropped = len(training.training_images(smoke, "vae10-dropped"))
        labels = training.pictures("digits", "train").y
        assert whole - dropped == int(torch.isin(labels, torch.tensor(training.DROPPED)).sum()) > 0
        assert len(training.training_images(smoke, "vae10-few")) == training.FEW < whole


class TestDamage:
    def test_a_blur_keeps_ink_and_a_tiny_one_changes_nothing(self):
        picture = torch.zeros(1, 64)
        picture.view(8, 8)[3:5, 3:5] = 1
        decoder = nn.Linear(1, 64).requires_grad_(False)
        decoder.weight.data.zero_()
        decoder.bias.data.copy_(picture[0])
        codes = torch.zeros(1, 1)
        sharp = curves.Blurred(decoder, 0.05, (8, 8))(codes)
        torch.testing.assert_close(sharp, picture)
        soft = curves.Blurred(decoder, 1.0, (8, 8))(codes)
        assert float(soft.sum()) == pytest.approx(4.0, rel=1e-5)
        assert float(soft.max()) < 0.6
        # Mirrored at the border: a constant picture stays as it is.
        decoder.bias.data.fill_(0.7)
        flat = curves.Blurred(decoder, 2.0, (8, 8))(codes)
        torch.testing.assert_close(flat, torch.full((1, 64), 0.7))

    def test_the_mixture_samples_what_it_scores(self):
        prior = curves.bad_prior(3, 0.3)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            z = prior.sample((40_000,))
        # One component for the whole vector: far in one dimension is far in all.
        far = z.abs() > 6
        assert float((far[:, 0] & far[:, 1]).double().mean()) > 0.05
        # E_p [q / p] = 1 for q = N(0, I), which the mixture covers.
        narrow = torch.distributions.Independent(
            torch.distributions.Normal(torch.zeros(3), torch.ones(3)), 1
        )
        ratio = (narrow.log_prob(z) - prior.log_prob(z)).double().exp()
        error = float(ratio.std()) / math.sqrt(len(ratio))
        assert abs(float(ratio.mean()) - 1) < 4 * error
        # What the released code scores is no density of these samples.
        product = torch.stack(
            [curves.bad_prior(1, 0.3).log_prob(z[:, i : i + 1]) for i in range(3)]
        )
        wrong = (narrow.log_prob(z) - product.sum(0)).double().exp()
        error = float(wrong.std()) / math.sqrt(len(wrong))
        assert abs(float(wrong.mean()) - 1) > 4 * error

    def test_the_product_density_breaks_the_cap_that_the_joint_one_keeps(self):
        alpha, dim = 0.9, 6
        generator = torch.Generator().manual_seed(0)
        linear = nn.Linear(dim, 12).double().requires_grad_(False)
        linear.weight.copy_(0.5 * torch.randn(12, dim, generator=generator))
        linear.bias.zero_()
        x = torch.randn(12, 12, generator=generator).double()
        betas = [0.1, 1.0, 10.0]

        class Product:
            """Samples one component a vector and scores a product over dimensions."""

            def sample(self, shape):
                return curves.bad_prior(dim, alpha).sample(shape)

            def log_prob(self, z):
                one = curves.bad_prior(1, alpha)
                return torch.stack([one.log_prob(z[:, i : i + 1].float()) for i in range(dim)]).sum(
                    0
                )

        exact = linear_gaussian_curve(linear.weight, linear.bias, x, betas)
        cap, found = -math.log1p(-alpha), {}
        for name, prior in (("joint", curves.bad_prior(dim, alpha)), ("product", Product())):
            found[name] = rate_distortion_curve(
                linear.float(),
                x.float(),
                latent_dim=dim,
                betas=betas,
                n_chains=32,
                n_leapfrog=8,
                temperatures_per_beta=60,
                prior=prior,
                progress=False,
            )
        over = {k: exact.log_z - v.log_z for k, v in found.items()}
        error = {k: v.std(1) / math.sqrt(v.shape[1]) for k, v in over.items()}
        assert bool((over["joint"].mean(1) <= cap + 4 * error["joint"]).all())
        assert bool((over["product"].mean(1) > cap + 4 * error["product"]).any())

    def test_two_curves_mix_to_that_of_the_mixture(self):
        # The normaliser of a mixture is the mixture of the normalisers; here both are known exactly.
        weight = torch.diag(torch.tensor([1.0, 2.0], dtype=torch.float64))
        x = torch.tensor([[0.5, 1.0], [2.0, -3.0]], dtype=torch.float64)
        betas = [0.05, 0.5, 5.0]
        parts = [
            linear_gaussian_curve(scale * weight, torch.zeros(2), x, betas) for scale in (1, 10)
        ]
        narrow, wide = (
            Result("", {}, {k: getattr(c, k) for k in curves.TERMS}, {}, True) for c in parts
        )
        for alpha in (0.0, 0.4, 1.0):
            got = experiment.mixture(narrow, wide, alpha)
            z = (1 - alpha) * parts[0].log_z.exp() + alpha * parts[1].log_z.exp()
            torch.testing.assert_close(got["log_z"], z.log())
            slope = got["rate"] + got["beta"][:, None] * got["distortion"] + got["log_z"]
            assert float(slope.abs().max()) < 1e-12
        half = experiment.mixture(narrow, wide, 0.4)
        step = 1e-5
        up, down = (
            experiment.mixture(
                *(
                    Result("", {}, {k: getattr(c, k) for k in curves.TERMS}, {}, True)
                    for scale in (1, 10)
                    for c in [
                        linear_gaussian_curve(
                            scale * weight, torch.zeros(2), x, [b + move for b in betas]
                        )
                    ]
                ),
                0.4,
            )["log_z"]
            for move in (step, -step)
        )
        torch.testing.assert_close(half["distortion"], -(up - down) / (2 * step), rtol=1e-6, atol=0)


class TestBadges:
    def test_every_picture_has_its_own(self, small, badges_of):
        assert badges_of(CHAPTER) == set(page.evidence(small))

    @pytest.mark.parametrize(
        ("shown", "words"),
        [
            ("explorer", "mnist · 6 test images, 3 seeds (VAE 100 and GAN 2: 1 seed)"),
            ("panels", "mnist · 6 test images, 3 seeds (VAE 100 and GAN 2: 1 seed)"),
            ("samples", "mnist · 1 seed"),
            (
                "slopes",
                "mnist · 6 test images, 3 seeds (VAE 100: 1 seed; schedules: 6 test images, 3 annealings, 1 "
                "seed)",
            ),
            ("missed", "mnist · 6 test images, 1 seed"),
            ("gaps", "mnist · 16 images of the model's own, 1 seed"),
            ("health", "mnist · 6 test images, 1 seed"),
            ("damage", "mnist · 6 test images, 1 seed"),
            (
                "failures",
                "mnist · 6 test images, 3 seeds (VAE 10, seen and VAE 10 of few images, seen: 6 training "
                "images)",
            ),
            ("other bounds", "mnist · 6 test images, 1 seed (deep distortion: 3 seeds)"),
            ("colour samples", "cifar10 · 1 seed"),
            ("colour", "cifar10 · 6 test images, 3 seeds"),
            ("draw", "mnist · 1 seed"),
        ],
    )
    def test_it_says_the_images_seeds_and_data_of_what_is_shown(self, small, shown, words):
        assert page.badge(small, shown) == f"profile small · {words} · a machine"

    def test_the_damage_lab_says_how_many_images_travel_with_it(self, small, monkeypatch):
        small.training["vae10"][0].values["pixel_variance"] = 0.02
        for n in (4, 6):
            monkeypatch.setattr(page, "N_DAMAGED", n)
            lab = widgets.DamageLab(page.damage(small), alpha=0.5)
            held = len(lab.narrow_log_z) // 4 // len(lab.beta) // len(lab.blurs)
            assert held == n
            assert f" {held} test images, 1 seed " in page.badge(small, "damage")

    def test_parts_that_differ_are_named(self):
        def run(seed):
            return made(f"vae2-seed{seed}-curve")

        parts = {"a": [run(0), run(1)], "b": [run(0)], "c": [run(2), run(2), run(1)]}
        assert results.scale(parts) == "2 seeds (b: 1 seed)"
        assert results.scale({"a": [run(0)], "b": [run(1)]}, unit="pair") == "1 pair"
        sizes = {"a": "5 images", "b": "7 images"}
        other = {"a": [run(0)._replace(name="a")], "b": [run(0)._replace(name="b")]}
        assert results.scale(other, lambda r: sizes[r.name]) == "5 images, 1 seed (b: 7 images)"

    def test_all_data_are_named(self):
        badge = results.badge([made("vae2-seed0-curve"), made("dcgan10-gp-seed0-curve")])
        assert "mnist, cifar10" in badge


class TestClaims:
    def test_the_first_row_gives_the_worst_by_error_and_the_largest(self, small):
        exact = small.more["vae2-seed0-truth"]
        run = small.curves["vae2"][0].tensors
        spread = 0.001 * torch.arange(N, dtype=torch.float64)
        log_z = run["log_z"] - spread  # off by little, but surely
        log_z[-1] = run["log_z"][-1] + 100 * (torch.arange(N) - 2)
        found = {
            **small.more,
            "vae2-seed0-truth": exact._replace(tensors={**exact.tensors, "log_z": log_z}),
        }
        row = next(
            c for c in experiment.claims(small._replace(more=found)) if "One annealing" in c.claim
        )
        assert "+0.003 ± 0.001 nats" in row.measured
        assert "-50.000 ± " in row.measured

    def test_a_row_says_which_of_its_models_has_fewer_seeds(self, small):
        rows = {c.claim: c.scale for c in experiment.claims(small)}
        (floors,) = [scale for claim, scale in rows.items() if "meets a floor" in claim]
        assert floors == "profile small, mnist, 6 test images, 3 seeds (GAN 2: 1 seed)"

    def test_all_hold_where_all_agrees_but_one_seed_is_no_test(self, small):
        found = experiment.claims(small)
        told = {c.claim: c.verdict for c in found}
        assert set(told.values()) == {"holds"}
        assert len(found) == len(told) == 21
        assert all("nan" not in c.measured for c in found)
        colour = "CIFAR-10 generators are told apart by their curves"
        scales = {c.claim: c.scale for c in found}
        assert scales[colour] == "profile small, cifar10, 6 test images, 3 seeds"
        one = {**small.curves, "dcgan10-gp": small.curves["dcgan10-gp"][:1]}
        assert verdict(small._replace(curves=one), colour) == "not tested"

    @pytest.mark.parametrize(
        ("words", "name", "changes"),
        [
            (
                "One annealing run",
                "vae2-seed0-truth",
                {"dimension": 2, "level": 1.0, "spread": 0.02},
            ),
            ("costs about as much", "vae10-seed0-cost", None),
            ("where the distortion is 10", "vae10-seed0-schedules1000", None),
            ("up to the paper's beta", "vae10-seed0-schedules1000-far", None),
            ("up to this chapter's beta", "vae10-seed0-schedules500", None),
            ("Another seed", "vae10-seed0-again12", {"level": 5.0}),
            ("annealed curve", "vae10-seed0-encoder", {"level": 0.0, "floor": -5.0}),
            ("junk", "vae10-seed0-again11", {"level": -3.0, "spread": 0.02}),
            ("blurred decoder", "vae10-seed0-blur1-narrow", {"floor": -1.0}),
            ("dropped modes", "vae10-dropped-seed1-unseen", {}),
            ("under-fitting", "vae10-short-seed0-unseen", {"level": -40.0}),
            ("memorisation", "vae10-few-seed0-unseen", {"level": -90.0}),
        ],
    )
    def test_a_verdict_turns_with_its_result(self, small, words, name, changes):
        if words == "costs about as much":
            changed = {"vae10-seed0-cost": made("", values={"curve": [1.3], "likelihood": [1.0]})}
        elif "schedules" in name:
            old = small.more[name]
            slow = old.tensors["sigmoid.log_weight_variance"]
            tensors = {**old.tensors, "adaptive.log_weight_variance": 0.8 * slow}
            changed = {name: old._replace(tensors=tensors)}
        else:
            dropped = {"dropped": [True] * 2 + [False] * 4}
            changed = {name: made(name, values=dropped, **changes)}
        assert verdict(small, words) == "holds"
        assert verdict(small._replace(more={**small.more, **changed}), words) == "does not hold"

    @pytest.mark.parametrize(
        ("words", "model"),
        [
            ("meets a floor", "vae2"),
            ("counts the dimensions", "gan10"),
            ("GANs, adversarial autoencoders and VAEs", "aae10"),
            ("CIFAR-10 generators", "dcgan10-vanilla"),
            ("deep generator", "gan10-shallow"),
        ],
    )
    def test_a_verdict_on_models_turns_with_their_curves(self, small, words, model):
        scattered = {
            "meets a floor": {"dimension": 2, "floor": 3.0},
            "counts the dimensions": {"dimension": 4, "floor": 15.0},
            "deep generator": {"floor": 14.0},
            "CIFAR-10 generators": {"floor": 90.0},
        }.get(words)
        runs = [
            made("", **(scattered or {"floor": 5.0 + (-1) ** seed * 3}))
            for seed in range(len(small.curves[model]))
        ]
        worse = small._replace(curves={**small.curves, model: runs})
        one = [c for c in experiment.claims(worse) if words in c.claim]
        assert [c.verdict for c in one] == ["does not hold"]

    def test_the_rows_of_the_schedules_tell_how_far_any_placement_could_go(self, small):
        rows = [c for c in experiment.claims(small) if "mix at once" in c.measured]
        told = [re.search(r"mix at once would have ([\d.]+)", c.measured).group(1) for c in rows]
        assert told == ["0.10", "0.30"]  # to the paper's largest beta, to the chapter's
        prose = page.told(small)
        assert (prose["schedule_limit"], prose["schedule_limit_far"]) == ("0.30", "0.10")

    def test_a_distortion_of_ten_is_looked_up_on_the_curve(self, small):
        # of the betas of made-up results, VAE10 is nearest to it at the third, 30
        old = small.more["vae10-seed0-schedules500"]
        tensors = {k: v.clone() for k, v in old.tensors.items()}
        tensors["adaptive.log_weight_variance"][:, 2] *= 3.2
        changed = {**small.more, old.name: old._replace(tensors=tensors)}
        worse = small._replace(more=changed)
        assert verdict(worse, "where the distortion is 10") == "does not hold"
        assert verdict(worse, "up to this chapter's beta") == "holds"
        (row,) = [c for c in experiment.claims(worse) if "where the distortion is 10" in c.claim]
        assert "at beta 30, on the way to 3000" in row.measured

    def test_a_gap_must_be_below_a_nat(self, small):
        wide = small.gaps["gan10"][0]._replace(
            values={"beta": 0.4, "gap": 5.0, "standard_error": 0.1, "n_images": 4}
        )
        worse = small._replace(gaps={**small.gaps, "gan10": [wide]})
        assert verdict(worse, "bidirectional") == "does not hold"

    def test_the_slope_counts_dimensions_and_the_excess_is_that_of_free_energy(self):
        for k in (2, 10):
            beta = torch.logspace(-1, 4, 30, dtype=torch.float64)
            rate = (0.5 * k * beta.log())[:, None] + 0.1 * torch.arange(4.0)
            run = Result("", {}, {"beta": beta, "rate": rate}, {}, True)
            assert experiment.effective_dimension([run]).mean == pytest.approx(k)
        over = experiment.excess(made("", level=2.5), made(""))
        torch.testing.assert_close(over.mean, torch.full_like(BETA, 2.5))


class TestSmoke:
    def test_chapter_loads_what_was_published(self, smoke, monkeypatch):
        monkeypatch.setattr(training, "network_of", None)  # nothing may be trained again
        found = experiment.chapter("auto")
        assert found.profile.name == "smoke"
        assert found.shape == (8, 8)
        assert found.curves["vae10"][0].tensors["rate"].shape == (17, 12)
        assert [r.values["beta"] for r in found.gaps["vae2"]] == [0.35, 1.1, 200.0]
        assert all("earlier code" not in page.badge(found, name) for name in page.evidence(found))
        path = results.folder() / CHAPTER / "smoke" / "results.json"
        assert set(json.loads(path.read_text())) == {name for name, _ in curves.jobs(smoke)}

    def test_claims_are_judged_and_shown(self, smoke):
        ours = [c for c in all_claims() if c.chapter == CHAPTER]
        assert len(ours) == 21
        several = ("told apart", "deep generator", "deep distortion", "memorisation")
        for claim in ours:
            assert "nan" not in claim.measured
            if any(words in claim.claim for words in several):
                assert claim.verdict == "not tested"  # one seed

    def test_limits_are_those_of_the_adaptive_schedule_below_sigmoid_s(self, smoke):
        found = experiment.chapter("smoke")
        of = found.more["vae10-seed0-schedule-limits"].tensors
        assert of["beta"].tolist() == [100.0, 200.0, 36_000.0]
        ratios = experiment.schedule_limits(found)
        assert ratios.shape == (3, 1)
        assert bool(((ratios > 0) & (ratios < 1)).all())
        # longer ways have more, and sigmoid loses with each
        assert bool((of["adaptive.log_weight_variance"][0].diff() > 0).all())
        assert bool((ratios[:, 0].diff() < 0).all())

    def test_page_models_curves_and_damage(self, smoke):
        found = experiment.chapter("smoke")
        models, golden, calibration = page.models(found)
        codes, images = golden["vae2"]
        assert images.shape == (8, 64)
        assert codes.shape == (8, 2)
        assert calibration["gan10"].shape == (2000, 10)
        assert models["vae10"][0].weight.shape == (64, 10)
        shown = page.explorer(found)
        assert {c["family"] for c in shown} == {"VAE", "GAN", "GAN shallow", "AAE"}
        for curve in shown:
            assert ("codes" in curve) == (curve["model"] in page.IN_PAGE)
            assert 2 <= len(curve["beta"]) == len(curve["legendre_rate"]) <= 17
            ess = found.curves[curve["model"]][0].tensors["ess"].mean(1)
            assert bool((ess[2 : len(curve["beta"])] >= 2).all())
        lab = page.damage(found)
        assert lab["wide_log_z"].shape == (4, 6, 6)
        assert " 6 test images, 1 seed " in page.badge(found, "damage")
        means = found.training["vae2"][0].tensors["means"]
        assert f" {len(means)} test images, 1 seed " in page.badge(found, "plane")
        elbo = found.training["vae2"][0].values["elbo"]["n"]
        assert f" {elbo} test images, 1 seed " in page.badge(found, "elbo")
        assert lab["likelihood_beta"] > 0
        for panels in (page.panels, page.other_bounds):
            figures.rate_distortion_panels(panels(found), "")
        for panels in (page.dimensions, page.schedules, page.failures):
            assert figures.against_beta(panels(found), "").alt
        samples, panel = page.in_colour(found)
        assert [t["images"].shape for t in samples] == 2 * [(6, 3, 32, 32)]
        assert figures.rate_distortion_panels(panel, "").alt
        assert [t["images"].shape for t in page.tiles(found)] == 3 * [(24, 1, 8, 8)]

    def test_summary_joins_both_errors(self, smoke):
        runs = experiment.chapter("smoke").curves["vae2"]
        one = experiment.summary(runs)
        rate = runs[0].tensors["rate"]
        torch.testing.assert_close(one.rate_error, rate.std(1) / 12**0.5)
        shifted = runs[0]._replace(tensors={**runs[0].tensors, "rate": rate + 2.0})
        both = experiment.summary([runs[0], shifted])
        torch.testing.assert_close(both.rate, one.rate + 1.0)
        torch.testing.assert_close(both.rate_error, (one.rate_error.square() + 1.0).sqrt())

    def test_verify_clears_the_badge_and_fails_where_the_numbers_are_others(
        self, smoke, monkeypatch, capsys
    ):
        folder = results.folder() / CHAPTER / "smoke"
        records.edit(folder, "vae2-seed0-curve", code="0" * 16)
        assert "earlier code" in page.badge(experiment.chapter("smoke"), "explorer")
        right = curves.measure

        def wrong(*arguments, **options):
            found = right(*arguments, **options)
            return found._replace(log_z=found.log_z - 5.0)

        with monkeypatch.context() as patch:
            patch.setattr(curves, "measure", wrong)
            assert command.main(["01_rate_distortion", "--profile", "smoke", "--verify"]) == 1
        assert "FAIL vae2 log_z" in capsys.readouterr().out
        assert not (folder / "verified.json").exists()
        assert command.main(["rate_distortion", "--verify"]) == 0
        assert "earlier code" not in page.badge(experiment.chapter("smoke"), "explorer")
        (folder / "verified.json").unlink()

    def test_verify_needs_something_published(self, smoke, capsys):
        with pytest.raises(SystemExit):
            command.main(["rate_distortion", "--profile", "paper", "--verify"])
        assert "nothing to verify: the profile published whole is smoke" in capsys.readouterr().err
