"""Chapter 3's experiment: whole at a tiny size, paired, resumable, stopped when it fails."""

import pytest
import torch

from dgm.papers.bre_gan import toy_discriminator, toy_generator
from dgm.train import History
from dgm_book import jobs, profiles
from dgm_book.chapters import CHAPTERS
from dgm_book.chapters.bre_gan import images as gan_images
from dgm_book.chapters.bre_gan import page as experiment
from dgm_book.chapters.bre_gan import toys as gan_toy
from dgm_book.chapters.bre_gan import training as gan_training
from dgm_book.chapters.bre_gan.training import GAN, Recipe, failure, noise, train

SMOKE = profiles.get("smoke")


@pytest.fixture(scope="module")
def tiny(work):
    """A whole chapter at the smallest size that still runs everything."""
    steps = {"normal": 8, "aggressive": 4}
    size = gan_images.Size(8, (8,), (4, 8, 8), (4, 3), 1, 2, steps, 4, 60, 20, 8)
    s = gan_images.settings(SMOKE)
    work.setattr(
        gan_images, "settings", lambda profile: s._replace(sizes={"digits": size}, widths=(2,))
    )
    toy = gan_toy.Settings({"eight": (2, 20)}, 1, 64, 2, 20)
    work.setattr(gan_toy, "settings", lambda profile: toy)
    return experiment.chapter("smoke")


def small_gan(seed=0):
    torch.manual_seed(seed)
    return GAN(toy_generator(), toy_discriminator(), 2)


def ring(i):
    angle = torch.rand(64, generator=torch.Generator().manual_seed(i)) * 6.3
    return torch.stack([angle.cos(), angle.sin()], 1)


def go(name, recipe, gan, real=ring, measure=None, at=(10, 20)):
    measure = measure or (lambda gan: {"first": float(next(gan.parameters()).detach().sum())})
    return train(gan, real, recipe, SMOKE, 0, name, measure, list(at))


RECIPE = Recipe(20, 64, 2e-3, (1,), weight=1.0, weight_falls=True)


class TestTraining:
    def test_an_interrupted_run_ends_the_same(self, work):
        whole = go("whole", RECIPE, small_gan())

        def breaks(gan):
            if breaks.left == 0:
                raise KeyboardInterrupt
            breaks.left -= 1
            return {"first": float(next(gan.parameters()).detach().sum())}

        breaks.left = 2
        with pytest.raises(KeyboardInterrupt):
            go("halves", RECIPE, small_gan(), measure=breaks)
        again = go("halves", RECIPE, small_gan())
        assert again.measured == whole.measured
        for a, b in zip(whole.gan.parameters(), again.gan.parameters(), strict=True):
            assert torch.equal(a, b)

    def test_pairs_see_the_same_data_and_noise(self, work):
        seen = {}
        for weight in (0.0, 1.0):
            batches = seen.setdefault(weight, [])
            gan = small_gan()
            gan.generator.register_forward_pre_hook(lambda m, x, kept=batches: kept.append(x[0]))
            go(f"pair{weight}", RECIPE._replace(weight=weight), gan)
        assert len(seen[0.0]) == 40
        for a, b in zip(seen[0.0], seen[1.0], strict=True):
            assert torch.equal(a, b)

    def test_noise_differs_by_seed_and_index(self):
        gan = small_gan()
        same = [noise(4, gan, 1, 2, "cpu"), noise(4, gan, 1, 2, "cpu")]
        assert torch.equal(*same)
        assert not torch.equal(same[0], noise(4, gan, 1, 3, "cpu"))
        assert not torch.equal(same[0], noise(4, gan, 2, 2, "cpu"))

    def test_a_generator_step_leaves_the_discriminator_alone(self, work):
        gan = small_gan()
        state = [p.clone() for p in gan.discriminator.parameters()]
        go("frozen", RECIPE._replace(discriminator_steps=1, learning_rate=1e-6), gan, at=(1,))
        moved = [
            float((a - b.detach()).abs().max())
            for a, b in zip(state, gan.discriminator.parameters(), strict=True)
        ]
        # One step of Adam moves a weight by its rate at most; two networks' steps would move it twice.
        assert max(moved) <= 1.01e-6 + 1e-7

    def test_not_a_number_stops_and_keeps_the_last_good_weights(self, work):
        def poisoned(i):
            return ring(i) * (float("nan") if i == 15 else 1.0)

        found = go("poison", RECIPE, small_gan(), real=poisoned)
        assert "not finite" in found.stopped
        assert [row["step"] for row in found.measured] == [0, 10]
        assert all(torch.isfinite(p).all() for p in found.gan.parameters())
        reference = go("good", RECIPE, small_gan(), at=(10,))
        for a, b in zip(found.gan.parameters(), reference.gan.parameters(), strict=True):
            assert torch.equal(a, b)

    @pytest.mark.parametrize(
        ("term", "value", "words"),
        [
            ("discriminator", 250.0, "diverged"),
            ("generator", 101.0, "diverged"),
            ("spread", 0.001, "collapsed"),
            ("spread", 0.5, None),
        ],
    )
    def test_failure_is_told_in_words(self, term, value, words):
        terms = {"discriminator": 1.0, "generator": 1.0, "spread": 1.0} | {term: value}
        history = History(
            torch.tensor([50]),
            {k: torch.tensor([v], dtype=torch.float64) for k, v in terms.items()},
        )
        found = failure(history)
        assert found is None if words is None else words in found

    def test_a_collapsed_run_stops(self, work):
        gan = small_gan()
        with torch.no_grad():
            for p in gan.generator.parameters():
                p.mul_(1e-3)
        found = go("collapsed", RECIPE._replace(learning_rate=1e-6), gan)
        assert "collapsed before step 20" in found.stopped
        assert found.measured[-1]["step"] == 10

    def test_a_generator_may_leave_the_spot_it_starts_on(self):
        terms = {"discriminator": 1.0, "generator": 1.0, "spread": 0.001}
        history = History(
            torch.tensor([50]),
            {k: torch.tensor([v], dtype=torch.float64) for k, v in terms.items()},
        )
        assert failure(history, before=1.0) is None
        assert "collapsed" in failure(history, before=0.002)


class TestChapter:
    def test_it_is_whole_and_loads_again(self, tiny, work):
        assert jobs.published(jobs.over_seeds(experiment.run, 0)).name == "smoke"
        work.setattr(gan_training, "fit", None)
        again = experiment.chapter("auto")
        assert again.toys["eight"]["bre"][1].values == tiny.toys["eight"]["bre"][1].values
        shown = experiment.evidence(again)
        assert all("earlier code" not in experiment.badge(again, name) for name in shown)

    def test_every_picture_has_its_own_badge(self, tiny, badges_of):
        assert badges_of("03_bre_gan") == set(experiment.evidence(tiny))

    @pytest.mark.parametrize(
        ("shown", "words"),
        [
            ("plane", "points in the plane · 1 pair"),
            ("pairs", "points in the plane · 2 pairs"),
            ("targets", "points in the plane · 2 pairs"),
            ("training", "digits · 1 pair"),
            ("tiles", "digits · 1 pair"),
            ("labels", "digits · 1 pair"),
        ],
    )
    def test_a_badge_says_the_pairs_and_data_of_what_is_shown(self, tiny, shown, words):
        assert f" · {words} · " in experiment.badge(tiny, shown)

    def test_each_row_says_its_own_pairs(self, tiny):
        scales = [c.scale for c in experiment.claims(tiny)]
        assert scales[:3] == ["profile smoke, 2 pairs"] * 3
        assert scales[3:7] == ["profile smoke, 1 pair"] * 4

    def test_a_run_shorter_than_the_transient_phase_refutes_nothing(self, tiny):
        rows = [c.measured for c in experiment.claims(tiny) if "improves samples" in c.claim]
        assert len(rows) == 2
        assert "8 steps" in rows[0]
        assert "neither shown nor refuted" in rows[0]
        assert "was not tested" in rows[1]  # no run stopped early, with BRE or without
        assert "8 steps" in experiment.told_images(tiny)["length_said"]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(experiment, "TRANSIENT", 4)
            assert experiment.told_images(tiny)["length_said"] == ""

    def test_the_chapter_has_one_name(self):
        assert CHAPTERS["bre_gan"] == experiment.CHAPTER

    def test_no_verdict_from_one_pair(self, tiny):
        claims = experiment.claims(tiny)
        assert len(claims) == 11
        images = [c for c in claims if "digits" in c.measured]
        assert images
        assert {c.verdict for c in images} == {"not tested"}

    def test_verdicts_follow_the_results(self, tiny):
        def with_pieces(n):
            def changed(r, value):
                rows = [
                    {**row, "pieces_h2": value, "pieces_h3": value, "pieces_h4": value}
                    for row in r.values["measured"]
                ]
                return r._replace(values={**r.values, "measured": rows})

            eight = tiny.toys["eight"]
            bre = [changed(r, n + i) for i, r in enumerate(eight["bre"])]
            none = [changed(r, 10 + i) for i, r in enumerate(eight["none"])]
            return tiny._replace(toys={"eight": {"none": none, "bre": bre}})

        assert experiment.claims(with_pieces(50))[0].verdict == "holds"
        assert experiment.claims(with_pieces(5))[0].verdict == "does not hold"

    @pytest.mark.parametrize(
        ("gain_of_width_1", "gain_of_width_2", "n", "verdict"),
        [
            ([0.1, 0.2, 0.1], [0.9, 1.1, 1.0], 3, "holds"),
            ([0.9, 1.1, 1.0], [0.1, 0.2, 0.1], 3, "does not hold"),
            ([0.1, 0.2, 0.1], [0.1, 3.0, -1.0], 3, "does not hold"),  # not beyond its interval
            ([0.1], [0.9], 1, "not tested"),
        ],
    )
    def test_the_gain_by_width_gets_a_verdict(
        self, tiny, gain_of_width_1, gain_of_width_2, n, verdict
    ):
        def scored(r, value):
            rows = [{**row, "class_score": value} for row in r.values["measured"]]
            return r._replace(values={**r.values, "measured": rows})

        dcgans = dict(tiny.dcgans)
        for width, gains in ((1, gain_of_width_1), (2, gain_of_width_2)):
            key = ("digits", "normal", "batch", width)
            none, bre = dcgans[key]["none"][0], dcgans[key]["bre"][0]
            dcgans[key] = {
                "none": [scored(none, 5.0 + seed) for seed in range(n)],
                "bre": [scored(bre, 5.0 + seed + gains[seed]) for seed in range(n)],
            }
        (claim,) = [
            c for c in experiment.claims(tiny._replace(dcgans=dcgans)) if "width" in c.claim
        ]
        assert claim.verdict == verdict
        difference = sum(gain_of_width_2) / n - sum(gain_of_width_1) / n
        assert f"width 2 minus width 1 {difference:+.2f}" in claim.measured
        assert f"width 1 {sum(gain_of_width_1) / n:+.2f}" in claim.measured

    def test_where_no_width_but_one_was_run_the_claim_says_so(self, tiny):
        dcgans = {key: pairs for key, pairs in tiny.dcgans.items() if key[3] == 1}
        (claim,) = [
            c for c in experiment.claims(tiny._replace(dcgans=dcgans)) if "width" in c.claim
        ]
        assert (claim.measured, claim.verdict) == (
            "wider discriminators were not run",
            "not tested",
        )

    def test_a_run_that_stopped_keeps_its_last_value(self, tiny):
        r = tiny.toys["eight"]["none"][0]
        rows = [{"step": 0, "modes": 1}, {"step": 10, "modes": 4}, {"step": 20, "modes": 8}]
        whole = r._replace(values={"measured": rows, "planned": {"every": 10, "n": 2}})
        short = r._replace(values={"measured": rows[:2], "planned": {"every": 10, "n": 2}})
        late = experiment.mean_over("modes", early=False)
        assert late(whole) == 8.0
        assert late(short) == 4.0

    def test_verify_finds_what_was_published(self, tiny):
        checks = experiment.verify(SMOKE)
        assert len(checks) == 6
        assert all(c["ok"] for c in checks)

    def test_verify_finds_a_wrong_number(self, tiny, work):
        toy = experiment.toys.toy

        def wrong(*args):
            r = toy(*args)
            rows = [{**row, "pieces_h2": 1} for row in r.values["measured"]]
            return r._replace(values={**r.values, "measured": rows})

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(experiment.toys, "toy", wrong)
            assert not all(c["ok"] for c in experiment.verify(SMOKE))

    def test_page_targets(self):
        targets = experiment.page_targets()
        assert [len(t["centres"]) for t in targets] == [8, 24, 25, 24]
