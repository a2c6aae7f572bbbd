"""Every variant of chapter 2 trains and is measured; on tiny sizes."""

import itertools
import math

import pytest
import torch

from dgm import checkpoint
from dgm.data.synthetic import topic_chain
from dgm_book import profiles
from dgm_book.chapters.mutual_information_lm import measure as measures
from dgm_book.chapters.mutual_information_lm import recipe as plan
from dgm_book.chapters.mutual_information_lm import run as runs

SMOKE = profiles.get("smoke")
TINY = plan.Settings(
    n_training=60, n_validation=20, n_test=30, width=6, rows=4, window=5, n_anchors=4,
    critic_hidden=5, steps=7, measure_every=3, n_samples=3, sample_tokens=400, reverse_steps=3,
)  # fmt: skip


pytestmark = pytest.mark.usefixtures("results_folder")


def make_job(variant="phase I", seed=0, text="chain", **changes):
    return runs.Job(SMOKE, text, TINY._replace(**changes), variant, seed)


def train(*arguments, **changes):
    return runs.train(make_job(*arguments, **changes))


def same(first, second):
    return all(map(torch.equal, first.parameters(), second.parameters()))


def watch(monkeypatch, module, name):
    """Return a list that gets the arguments and the result of each call of a function."""
    calls, function = [], getattr(module, name)

    def watched(*arguments, **options):
        calls.append((arguments, function(*arguments, **options)))
        return calls[-1][1]

    monkeypatch.setattr(module, name, watched)
    return calls


def test_the_seeds_share_out_all_runs_each_with_a_name_of_its_own(monkeypatch):
    monkeypatch.setattr(runs, "result", lambda job: job.name)
    monkeypatch.setattr(runs, "real_text", lambda job: job.name)
    for name, recipe in plan.RECIPES.items():
        profile = profiles.get(name)
        seeds = range(7, 7 + profile.n_seeds)
        names = [run for seed in seeds for run in runs.run(profile, seed, first_seed=7)]
        expected = {runs.run_name(*run, n + 7) for *run, n in recipe.runs}
        expected |= {runs.run_name(text, "real", n + 7) for text, n in recipe.real}
        assert sorted(names) == sorted(expected)
        assert {text for text, _, _ in recipe.runs} == set(recipe.texts)
        assert {variant for _, variant, _ in recipe.runs} <= set(plan.VARIANTS)


@pytest.mark.parametrize("variant", plan.VARIANTS)
def test_every_variant_trains_and_is_loaded_again(variant):
    first, second = (train(variant, 3) for _ in range(2))
    assert same(first.model, second.model)
    assert all(torch.isfinite(p).all() for p in first.model.parameters())
    assert [row["step"] for row in first.rows] == [3, 6, 7]
    assert first.rows == second.rows
    assert first.rows[-1]["nll"] < first.rows[0]["nll"]


def test_a_detached_critic_changes_nothing_but_itself(monkeypatch, results_folder):
    """Dropout's draws aside: with none, likelihood alone is what it is without a critic."""
    trained = []
    for weight in (9.0, 0.0):
        monkeypatch.setenv("DGM_RESULTS", str(results_folder / str(weight)))
        trained.append(train("likelihood", critic_weight=weight, dropout=0.0))
    heavy, none = trained
    assert same(heavy.model, none.model)
    assert not same(heavy.critic, none.critic)


def test_shuffled_pairs_are_the_same_sentences_in_another_order(monkeypatch):
    calls = watch(monkeypatch, runs.paper, "bootstrap_objective")
    train("phase I")
    train("shuffled pairs")
    whole, torn = (calls[i][0][2].tokens.tolist() for i in (0, -1))
    assert sorted(whole) == sorted(torn)
    assert sum(a == b for a, b in zip(whole, torn, strict=True)) < 10  # of 60


def test_the_state_goes_from_window_to_window_and_not_from_end_to_start(monkeypatch):
    calls = watch(monkeypatch, runs.paper, "likelihood_objective")
    stream = train().splits.streams[0]
    starts = [start for start, _ in runs.make_windows(stream, TINY, 0)]
    assert 0 < starts.count(0) < len(starts)
    for i, start in enumerate(starts):
        before, after = calls[i][0][2], calls[i - 1][1].state
        assert before is None if start == 0 else torch.equal(before[0][0], after[0][0])


def test_variants_differ_as_their_names_say():
    assert not same(train("phase I").model, train("padding read").model)
    names = ("likelihood", "more dropout", "much more dropout", "less dropout")
    rates = [runs.Learner(20, TINY, plan.VARIANTS[name]).model.dropouts.output for name in names]
    assert rates == pytest.approx([0.5, 0.6, 0.7, 0.4])
    first, second = (train(variant, 1, steps=6) for variant in ("phase I", "phase II"))
    assert first.rows[0] == second.rows[0]  # phase II is phase I until half way
    assert first.rows[1] != second.rows[1]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        # The last of ten steps is nine tenths of the way down.
        ({"last_rate": 0.1}, [0.19 * 1e-2, 0.19 * 3e-3]),
        ({"released": True, "window": 3}, [5 / 3 * 1e-2, 3e-3]),
    ],
)
def test_the_rates_of_the_last_step(results_folder, changes, expected):
    train(**changes, steps=10, measure_every=10)
    (path,) = results_folder.rglob("*.training.safetensors")
    groups = checkpoint.load(path)["optimizer"]["param_groups"]
    assert [group["lr"] for group in groups] == pytest.approx(expected)


def test_averaging_begins_when_validation_stands_still(monkeypatch):
    """The average of few steps is near their end, and is not the end."""
    monkeypatch.setattr(runs.Learner, "averages", lambda self, rows, patience: len(rows) > 2)
    models, weights = [], []
    perplexity = runs.perplexity

    def watched(model, *arguments, **options):
        models.append(model)
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
        return perplexity(model, *arguments, **options)

    monkeypatch.setattr(runs, "perplexity", watched)
    train(released=True, learning_rate=0.5, measure_every=1)
    assert [model is models[0] for model in models] == [True] * 3 + [False] * 4
    steps = [float((b - a).norm()) for a, b in itertools.pairwise(weights)]
    assert 0 < steps[-1] < 0.5 * steps[0]  # a mean of four changes a quarter as much as its values


def test_the_trigger_compares_with_the_best_before_the_last_few():
    plain = runs.Learner(20, TINY, plan.VARIANTS["phase I"])
    released = runs.Learner(20, TINY._replace(released=True), plan.VARIANTS["phase I"])
    for losses, patience, expected in (
        ([3.0, 4.0, 5.0, 3.5], 2, True),  # the best but for the last two before it was 3
        ([3.0, 4.0, 5.0, 3.5, 2.0], 2, True),  # and averaging goes on
        ([3.0, 4.0, 5.0, 2.5], 2, False),
        ([4.0, 3.0, 5.0, 3.5], 2, False),  # here it was 4
        ([3.0, 3.0, 3.0, 3.0], 2, False),  # as good is not worse
        ([1.0, *[2.0] * 10], 10, False),
        ([1.0, *[2.0] * 11], 10, True),
    ):
        rows = [{"nll": loss} for loss in losses]
        assert released.averages(rows, patience) is expected
        assert not plain.averages(rows, patience)


def test_a_critic_that_diverges_is_named():
    with pytest.raises(FloatingPointError, match="critic"):
        train(critic_rate=1e30, clip=1e30)


def test_windows_read_the_text_again_and_again_and_have_the_released_lengths():
    stream = torch.arange(41)
    fixed = runs.make_windows(stream, TINY, 0)  # 4 rows of 10 tokens with a next one
    assert fixed == [(0, 5), (5, 5)] * 3 + [(0, 5)]
    varied = runs.make_windows(stream, TINY._replace(released=True, window=6, steps=40), 0)
    assert {start for start, _ in varied} != {0}
    assert all(start + length <= 10 for start, length in varied)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.tensor([runs.window_length(generator, 70) for _ in range(4000)]).double()
    near = drawn > 52.5
    assert abs(float(1 - near.double().mean()) - 0.05) < 4 * math.sqrt(0.0475 / 4000) + 0.001
    assert abs(float(drawn[near].mean()) - 70) < 4 * 5 / math.sqrt(3700)
    assert abs(float(drawn[near].std()) - 5) < 0.4
    assert abs(float(drawn[~near].mean()) - 35) < 2
    assert min(runs.window_length(generator, 8) for _ in range(200)) == 5


def test_a_reader_does_not_expect_what_is_never_written():
    job = make_job(reverse_steps=200, width=32, n_training=300)
    word, end = job.splits.vocabulary.first_word, job.splits.vocabulary.end
    dull_text = measures.join_sentences([[word] * 5] * 60, end)
    assert runs.reverse_nll(job, job.splits.streams[0]) < runs.reverse_nll(job, dull_text)


def test_a_text_without_topics_is_judged_by_the_critic_of_its_likelihood(monkeypatch):
    texts = topic_chain(400, 1).texts

    def load(name, split):
        parts = {"train": texts[:200], "validation": texts[200:300], "test": [*texts[300:], ""]}
        return measures.text.Sentences(parts[split], torch.zeros(0))

    monkeypatch.setattr(measures.text, "load", load)
    calls = watch(monkeypatch, measures, "bound_by_distance")
    changes = {"n_training": None, "n_validation": 50, "n_test": None, "steps": 30}
    job = make_job(text="shakespeare", source="shakespeare", sample_tokens=1500, **changes)
    results = [runs.result(job._replace(variant=variant)) for variant in plan.PAGE]
    real = runs.real_text(job._replace(variant="real"))
    bounds = [*(r.values["samples"]["bound"] for r in results), real.values["bound"]]
    assert torch.tensor(bounds).isfinite().all()
    assert [len(row) for row in bounds] == [len(plan.DISTANCES)] * len(calls) == [5] * 3
    assert all(same(calls[0][0][0].model, judge.model) for (judge, *_), _ in calls[1:])
    assert len(results[0].values["questions"]) == 40
    assert results[0].values["passages"][0]["texts"] == texts[300:316]
