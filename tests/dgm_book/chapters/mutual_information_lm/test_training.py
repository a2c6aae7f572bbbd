"""Every arm of chapter 2 trains, resumes and is measured; on tiny sizes."""

import itertools
import math

import pytest
import torch

from dgm.data.synthetic import topic_chain
from dgm.papers.mutual_information_lm import stream_of
from dgm_book import profiles
from dgm_book.chapters.mutual_information_lm import training
from dgm_book.chapters.mutual_information_lm.training import (
    ARMS,
    CHAINS,
    bound_by_distance,
    measured,
    opening_of,
    passages,
    questions,
    real_text,
    result,
    reverse_perplexity,
    samples,
    sentences,
    topic_information,
    trained,
)

SMOKE = profiles.get("smoke")
real_settings = training.settings
TINY = training.settings(SMOKE, "chain")._replace(
    n_training=60, n_validation=20, n_test=30, width=6, rows=4, window=5, n_anchors=4,
    critic_hidden=5, steps=7, measure_every=3, n_samples=3, sample_tokens=400, reverse_steps=3,
)  # fmt: skip


@pytest.fixture(autouse=True)
def tiny(monkeypatch, tmp_path):
    monkeypatch.setenv("DGM_RESULTS", str(tmp_path))
    use(monkeypatch)


def use(monkeypatch, **changes):
    monkeypatch.setattr(training, "settings", lambda *_: TINY._replace(**changes))


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_trains_and_is_found_again(arm):
    found, again = (trained("chain", arm, SMOKE, 3) for _ in range(2))
    for a, b in zip(found.model.parameters(), again.model.parameters(), strict=True):
        assert torch.isfinite(a).all()
        assert torch.equal(a, b)
    assert [row["step"] for row in found.rows] == [3, 6, 7]
    assert found.rows == again.rows
    assert found.rows[-1]["nll"] < found.rows[0]["nll"]


@pytest.mark.parametrize("changes", [{}, {"base": "transformer"}, {"released": True}])
def test_an_interrupted_run_ends_where_a_whole_one_does(monkeypatch, tmp_path, changes):
    """Of phase II, which begins behind the interruption."""
    use(monkeypatch, width=8, **changes)
    whole = trained("chain", "phase II", SMOKE, 0)
    monkeypatch.setenv("DGM_RESULTS", str(tmp_path / "parts"))
    fit = training.fit

    def killed(*arguments, **options):
        if arguments[3] == 6:
            raise KeyboardInterrupt
        return fit(*arguments, **options)

    monkeypatch.setattr(training, "fit", killed)
    with pytest.raises(KeyboardInterrupt):
        trained("chain", "phase II", SMOKE, 0)
    monkeypatch.setattr(training, "fit", fit)
    parts = trained("chain", "phase II", SMOKE, 0)
    assert parts.rows == whole.rows
    for a, b in zip(parts.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_detached_critic_changes_nothing_but_itself(monkeypatch, tmp_path):
    """Dropout's draws aside: with none, likelihood alone is what it is without a critic."""
    found = []
    for weight in (9.0, 0.0):
        use(monkeypatch, critic_weight=weight, dropout=0.0)
        monkeypatch.setenv("DGM_RESULTS", str(tmp_path / str(weight)))
        found.append(trained("chain", "likelihood", SMOKE, 0))
    heavy, none = found
    for a, b in zip(heavy.model.parameters(), none.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(heavy.critic.forwards[0].weight, none.critic.forwards[0].weight)


def test_phase_two_is_phase_one_until_half_way(monkeypatch):
    use(monkeypatch, steps=6)
    first, second = (trained("chain", arm, SMOKE, 0) for arm in ("phase I", "phase II"))
    assert first.rows[0] == second.rows[0]
    assert first.rows[1] != second.rows[1]


def test_shuffled_pairs_are_the_same_sentences_in_another_order(monkeypatch):
    seen = {}
    objective = training.paper.bootstrap_objective
    for arm in ("phase I", "shuffled pairs"):

        def watched(model, critic, segments, *arguments, arm=arm, **options):
            seen[arm] = segments.tokens
            return objective(model, critic, segments, *arguments, **options)

        monkeypatch.setattr(training.paper, "bootstrap_objective", watched)
        trained("chain", arm, SMOKE, 0)
    kept, torn = (sorted(tokens.tolist()) for tokens in seen.values())
    assert kept == torn
    together = sum(
        a.tolist() == b.tolist() for a, b in zip(*(x[1:] for x in seen.values()), strict=True)
    )
    assert together < 10  # of 59


def test_the_state_goes_from_window_to_window_and_not_from_end_to_start(monkeypatch):
    given, left = [], []
    objective = training.paper.likelihood_objective

    def watched(model, tokens, state, *arguments, **options):
        found = objective(model, tokens, state, *arguments, **options)
        given.append(state)
        left.append(found.state)
        return found

    monkeypatch.setattr(training.paper, "likelihood_objective", watched)
    found = trained("chain", "phase I", SMOKE, 0)
    starts = [at for at, _ in training._windows(found.material.streams[0], TINY, 0)]
    for i, at in enumerate(starts):
        if at == 0:
            assert given[i] is None
        else:
            assert torch.equal(given[i][0][0], left[i - 1][0][0])
    assert starts.count(0) < len(starts)


def test_padding_is_read_in_training_where_it_is_asked_for():
    kept, leaky = (trained("chain", arm, SMOKE, 0).model for arm in ("phase I", "padding read"))
    assert not torch.equal(kept.embedding.weight, leaky.embedding.weight)


def test_arms_of_another_dropout_have_it():
    rates = {
        arm: training.Learner(20, TINY, ARMS[arm]).model.dropouts.output
        for arm in ("likelihood", "more dropout", "less dropout")
    }
    assert rates == pytest.approx({"likelihood": 0.5, "more dropout": 0.6, "less dropout": 0.4})


def test_the_rates_fall_to_their_last_share(monkeypatch, tmp_path):
    use(monkeypatch, last_rate=0.1, steps=10, measure_every=10)
    trained("chain", "phase I", SMOKE, 0)
    (path,) = tmp_path.rglob("*.training.safetensors")
    groups = training.checkpoint.load(path)["optimizer"]["param_groups"]
    # The last of ten steps is nine tenths of the way down.
    assert [g["lr"] for g in groups] == pytest.approx([0.19 * 1e-2, 0.19 * 3e-3])


def test_averaging_begins_when_validation_stands_still(monkeypatch):
    """The average of few steps is near their end, and is not the end."""
    monkeypatch.setattr(training, "N_SLOW", 1)
    monkeypatch.setattr(training, "no_gain", lambda losses, patience: True)
    use(monkeypatch, released=True, learning_rate=0.5, measure_every=1)
    seen = []
    perplexity = training.paper.perplexity

    def watched(model, *arguments, **options):
        weights = torch.cat([p.detach().flatten() for p in model.parameters()])
        seen.append((model, weights))
        return perplexity(model, *arguments, **options)

    monkeypatch.setattr(training.paper, "perplexity", watched)
    trained("chain", "phase I", SMOKE, 0)
    models, weights = zip(*seen, strict=True)
    assert [model is models[0] for model in models] == [True] * 3 + [False] * 4
    moved = [float((b - a).norm()) for a, b in itertools.pairwise(weights)]
    assert 0 < moved[-1] < 0.5 * moved[0]  # a mean of four moves a quarter as far as what it is of


def test_a_critic_that_diverges_is_named(monkeypatch):
    use(monkeypatch, critic_rate=1e30, clip=1e30)
    with pytest.raises(FloatingPointError, match="critic"):
        trained("chain", "phase I", SMOKE, 0)


def test_windows_read_the_text_again_and_again():
    stream = torch.arange(41)
    fixed = list(training._windows(stream, TINY, 0))  # 4 rows of 10 tokens with a next one
    assert fixed == [(0, 5), (5, 5)] * 3 + [(0, 5)]
    varied = TINY._replace(released=True, window=6, steps=40)
    found = list(training._windows(stream, varied, 0))
    assert {at for at, _ in found} != {0}
    assert all(at + length <= 10 for at, length in found)


def test_measures_are_finite_and_beside_the_truth(monkeypatch):
    model = trained("chain", "phase I", SMOKE, 1)
    found = measured(model, "chain", TINY)
    values = [x for v in found.values() for x in (v if isinstance(v, list) else [v])]
    assert all(math.isfinite(x) for x in values)
    assert found["exact"] == pytest.approx(1.55977, abs=1e-5)
    assert len(found["exact_by_distance"]) == len(training.DISTANCES)
    assert 0 <= found["retrieval_hard"] <= 1
    monkeypatch.setitem(CHAINS, "chain", training.Chain(switch=0.02))
    assert measured(model, "chain", TINY)["exact"] > found["exact"]


def test_topics_of_a_real_chain_have_the_information_they_should():
    m = training.material("chain", TINY._replace(n_training=1500, n_test=20_000), 0)
    rows = list(sentences(m.streams[2].tolist(), m.vocabulary.end))
    halves = [rows[:10_000], rows[10_000:]]
    exact = measured(trained("chain", "likelihood", SMOKE, 0), "chain", TINY)["exact_by_distance"]
    for found, wanted in zip(topic_information(halves, m.vocabulary), exact, strict=True):
        assert found == pytest.approx(wanted, abs=0.05)
    with pytest.raises(ValueError, match="want more than 8"):
        topic_information([rows[:8]], m.vocabulary)


def test_a_bound_by_distance_is_of_pairs_in_one_text():
    """Texts of one topic each, so that all pairs inside belong together, near or far."""
    judge = trained("chain", "likelihood", SMOKE, 0)
    sentence = judge.material.segments[2].tokens[0, :3].tolist()
    rows = [[sentence] * 12 for _ in range(3)]
    assert bound_by_distance(judge, rows, TINY) == pytest.approx([0.0] * 5, abs=1e-6)
    with pytest.raises(ValueError, match="8 apart"):
        bound_by_distance(judge, [row[:8] for row in rows], TINY)


def test_what_is_never_written_is_not_expected(monkeypatch):
    use(monkeypatch, reverse_steps=200, width=32, n_training=300)
    s = training.settings()
    m = training.material("chain", s, 0)
    real = reverse_perplexity(m.streams[0], m, s, 0)
    word = m.vocabulary.first_word
    dull = reverse_perplexity(stream_of([[word] * 5] * 60, m.vocabulary.end), m, s, 0)
    assert real < dull


def test_written_sentences_are_whole_and_have_words():
    assert list(sentences([5, 6, 2, 2, 7, 2, 8], 2)) == [[5, 6], [7]]
    model = trained("chain", "likelihood", SMOKE, 0)
    rows = samples(model, TINY, 0)
    assert len(rows) == TINY.n_samples
    assert all(ids and 2 not in ids for row in rows for ids in row)


def test_openings():
    vocabulary = training.material("chain", TINY, 0).vocabulary
    empty, unknown = opening_of("", vocabulary)
    assert empty.tolist() == [[vocabulary.end]]
    assert unknown == []
    ids, unknown = opening_of("the zebra of zorn", vocabulary)
    assert ids.shape == (1, 5)
    assert unknown == ["zebra", "zorn"]
    assert ids[0, 2] == vocabulary.unknown


def test_questions_and_passages():
    model = trained("chain", "phase I", SMOKE, 0)
    asked = questions(model, n=6)
    texts = model.material.test
    for q in asked:
        place = texts.index(q["sentence"])
        assert texts[place + 1] == q["options"][q["answer"]]
        assert len(set(q["options"])) == 2
        assert all(len(x.split()) >= 3 for x in (q["sentence"], *q["options"]))
    assert {q["answer"] for q in asked} == {0, 1}
    (passage,) = passages(model, (3,))
    assert passage["texts"] == texts[3:19]
    features = training.paper.segment_features(model.model, model.material.segments[2])
    one = training.paper.critic_scores(model.critic, features, torch.tensor([4]), torch.tensor([7]))
    assert passage["scores"][1][2] == pytest.approx(float(one))


def test_results_of_every_chain(monkeypatch):
    monkeypatch.setitem(CHAINS, "chain", CHAINS["short cycle"])
    use(monkeypatch, steps=4, sample_tokens=3000)
    found = result(SMOKE, "chain", "likelihood", 0)
    assert found.values["vocabulary"]
    assert found.tensors["model.embedding.weight"].dtype == torch.float16
    real = real_text(SMOKE, "chain", 0)
    assert real.values["reverse_nll"] > 0
    leaky = result(SMOKE, "chain", "padding read", 0).values
    assert leaky["final"]["bound"] != leaky["padding left out"]["bound"]


def test_a_text_without_topics_is_judged_by_the_critic_of_its_likelihood(monkeypatch):
    texts = topic_chain(400, 1).texts

    def load(name, split):
        parts = {"train": texts[:200], "validation": texts[200:300], "test": [*texts[300:], ""]}
        return training.text.Sentences(parts[split], torch.zeros(0))

    monkeypatch.setattr(training.text, "load", load)
    use(monkeypatch, n_training=None, n_validation=50, n_test=None, steps=30, sample_tokens=1500)
    judges = []
    bound = training.bound_by_distance

    def watched(judge, *arguments, **options):
        judges.append(judge.model.embedding.weight)
        return bound(judge, *arguments, **options)

    monkeypatch.setattr(training, "bound_by_distance", watched)
    found = [result(SMOKE, "shakespeare", arm, 0) for arm in ("likelihood", "phase I")]
    real = real_text(SMOKE, "shakespeare", 0)
    for told in (*(r.values["samples"]["bound"] for r in found), real.values["bound"]):
        assert len(told) == len(training.DISTANCES)
        assert all(math.isfinite(x) for x in told)
    assert len(judges) == 3
    assert all(torch.equal(judges[0], other) for other in judges[1:])
    assert len(found[0].values["questions"]) == training.N_PAGE
    assert found[0].values["passages"][0]["texts"] == texts[300:316]


def test_an_unknown_text_is_named():
    with pytest.raises(ValueError, match="no text 'klingon'"):
        real_settings(SMOKE, "klingon")
