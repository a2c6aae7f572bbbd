"""Chapter 4: the smoke recipe reaches its marks, and the whole chapter runs at a tiny size."""

import copy
import re

import pytest
import torch
from review_words import content_words, sentiment_of

from dgm.data import text
from dgm.papers.controllable_text_vae import steer
from dgm.simplex_steering import rewrite
from dgm.steering import MODELS
from dgm_book import profiles
from dgm_book.chapters.controllable_text_vae import codes, page, run, steering
from dgm_book.chapters.controllable_text_vae.recipe import RECIPES
from dgm_book.chapters.controllable_text_vae.training import first_per_label, setup, training_text
from dgm_book.widgets import RewriterWeights, SentenceSteering

SMOKE = RECIPES["smoke"]
JUDGES = {"classifier_steps": 20, "language_steps": 20}
JUDGES |= {"bleu_resamples": 20, "perplexity_resamples": 20}
STEERING = {"steps": (25,), "n_sentences": 900, "labels": (150,)}
STEERING |= {"margins": (100.0, 0.5), "thresholds": (0.1, 0.5)}
TINY = SMOKE._replace(
    judges=SMOKE.judges._replace(**JUDGES),
    codes=SMOKE.codes._replace(steps=15, hidden=16, embedding=8, n_sentences=600),
    steering=SMOKE.steering._replace(**STEERING),
)


@pytest.fixture(scope="module")
def smoke_model(work, smoke_results):
    with pytest.MonkeyPatch.context() as patch:
        if smoke_results:
            patch.setenv("DGM_RESULTS", smoke_results)
        return steering.trained_steering(setup(profiles.get("smoke")), 200, 0)


@pytest.fixture(scope="module")
def test():
    return text.load("reviews", "test")


class TestSmoke:
    def test_a_vertex_changes_the_sentiment_and_keeps_the_rest(self, smoke_model, test):
        rewrites = rewrite(smoke_model, test.texts, steering.opposite(test.labels))
        changed = [sentiment_of(rewrite.text) for rewrite in rewrites]
        assert (torch.tensor(changed) == 1 - test.labels).double().mean() >= 0.9
        pairs = [(set(content_words(a)), b.text) for a, b in zip(test.texts, rewrites, strict=True)]
        share = [len(words & set(text.split())) / len(words) for words, text in pairs]
        assert sum(share) / len(share) >= 0.7

    def test_the_page_model_is_nearly_the_same(self, smoke_model, test):
        tensors = steering.page_tensors(smoke_model)
        small = steering.from_page(tensors, smoke_model.vocabulary.words)
        weights = steering.opposite(test.labels)
        whole, rounded = (rewrite(m, test.texts, weights) for m in (smoke_model, small))
        same = sum(a.text == b.text for a, b in zip(whole, rounded, strict=True))
        assert 0.8 * len(whole) <= same
        size = sum(t.numel() * t.element_size() for t in tensors.values())
        assert size < 0.5 * sum(4 * p.numel() for p in smoke_model.parameters())
        weight, exact = (m.state_dict()["lstm.weight_hh_l0"] for m in (small, smoke_model))
        step = tensors["lstm.weight_hh_l0.scale"][:, None]
        assert ((weight - exact).abs() <= 0.5001 * step).all()
        with pytest.raises(ValueError, match="no page model"):
            steering.from_page({**tensors, "more": torch.zeros(2)}, smoke_model.vocabulary.words)

    def test_first_agreeing_is_what_rewrite_returns(self, smoke_model, test):
        sentences = first_per_label(test, 20)
        assert sentences.labels.tolist() == [0] * 20 + [1] * 20
        margins = SMOKE.steering.margins
        rewrites = steering.candidates(smoke_model, sentences, margins)
        chosen = steering.first_agreeing(rewrites, 0.8)
        weights = steering.opposite(sentences.labels)
        direct = rewrite(smoke_model, sentences.texts, weights, margins=margins, threshold=0.8)
        assert [r.text for r in chosen] == [r.text for r in direct]


@pytest.fixture(scope="module")
def published_model():
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DGM_RESULTS", raising=False)
        result = run.page_model(setup(profiles.get("small", "cpu")), 0)
    return steering.from_page(result.tensors, result.values["words"])


STRANGE = ["12.50", "3", "1,000", "zorbon", "kwixel", "plimt", "grudnak", "vexlo", "tromsk"]
TYPED = {  # what a visitor types, and how many sentences come back at least
    "We paid 12.50 for 3 tacos. Zorbon was great! Kwixel waited 1,000 minutes, Plimt left.": 3,
    "zorbon and kwixel served plimt with grudnak , vexlo and tromsk , and it was great .": 1,
    "we came for lunch , " * 9 + "and the staff was zorbon": 0,
}


@pytest.mark.parametrize("weights", [[1, 0, 0], [0, 0, 1]])
@pytest.mark.parametrize(("typed", "least"), TYPED.items())
def test_numbers_names_and_all_sentences_of_a_visitor_come_back(
    published_model, weights, typed, least
):
    words = steer(published_model, typed, weights).split()
    expected = re.findall("|".join(STRANGE), typed.lower())
    assert [word for word in words if word in STRANGE] == expected
    assert not {"<unk>", "_num_"} & set(words)
    assert sum(w in (".", "!", "?") for w in words) >= least
    assert len(words) >= 0.8 * len(typed.split())


class TestTargets:
    def test_a_hundred_labels_of_both_classes_teach_the_others(self):
        source = training_text("reviews", 4000, 200, 16)
        train, features = source.sentences, source.features(source.corpus)
        labels = torch.full((len(train.texts),), -1)
        labels[:100] = train.labels[:100]
        targets = steering.anchored_targets(train.texts, features, labels)
        torch.testing.assert_close(targets.sum(1), torch.ones(len(targets)))
        assert torch.equal(targets[:100], torch.eye(3)[2 * train.labels[:100]])
        guessed = (targets[100:, 2] > targets[100:, 0]).long()
        assert (guessed == train.labels[100:]).double().mean() > 0.9
        with pytest.raises(ValueError, match="two of each class"):
            steering.anchored_targets(["a", "b"], torch.zeros(2, 3), torch.tensor([0, -1]))


@pytest.mark.parametrize(("goal", "chosen"), [(86, 1), (99, 2)])
def test_the_chosen_point_keeps_most_among_the_accurate(goal, chosen):
    pairs = ((80, 70), (87, 60), (95, 50))
    points = [{"accuracy": {"mean": a}, "bleu_source": {"mean": b}} for a, b in pairs]
    assert steering.chosen_point(points, goal) == chosen


def test_shift_of_a_gaussian():
    generator = torch.Generator().manual_seed(0)
    original = torch.randn(4000, generator=generator, dtype=torch.float64)
    shift = codes.shift(original, original + 2)
    assert shift["shift"]["mean"] == pytest.approx(2)
    assert shift["in_standard_deviations"] == pytest.approx(2, rel=0.05)
    # The overlap of two unit Gaussians two apart is 2 Phi(-1).
    assert shift["overlap"] == pytest.approx(0.3173, abs=4 * (0.3173 / 4000) ** 0.5)


@pytest.fixture(scope="module")
def tiny(work):
    """A whole chapter with sizes that only show that it runs."""
    return page.chapter("smoke", recipe=TINY)


class TestChapter:
    def test_loads_what_was_published_and_every_figure_has_its_badge(
        self, tiny, badges_of, monkeypatch
    ):
        monkeypatch.setattr(torch.optim.Adam, "step", None)  # nothing is trained a second time
        assert page.chapter("auto", recipe=TINY).profile.name == "smoke"
        for key in badges_of("04_controllable_text_vae") - {"other data"}:
            assert page.badge(tiny, key).startswith("profile smoke")

    def test_claims_follow_the_results(self, tiny):
        verdicts = {c.id: c.verdict for c in page.claims(tiny)}
        assert verdicts["topics_switch_in_mid_sentence"] == "not tested"
        assert verdicts["steered_with_2000_labels"] == "not tested"  # no such model
        assert verdicts["released_weights_fill_the_simplex"] == "not tested"  # one seed
        name, other = "page_model_is_the_measured", copy.deepcopy(tiny)
        for unchanged, expected in ((990, "holds"), (955, "undecided"), (900, "does not hold")):
            other.page.values.update(n=1000, unchanged_by_int8=unchanged)
            assert {c.id: c.verdict for c in page.claims(other)}[name] == expected

    def test_a_code_that_is_hardly_read_has_no_claims(self, tiny):
        for bleu in (4.9, 5.1):
            other = copy.deepcopy(tiny)
            for result in (*other.simplex, *other.ordinary):
                result.values["reconstruction"]["bleu_source"]["mean"] = bleu
            other = other._replace(simplex=3 * other.simplex, ordinary=3 * other.ordinary)
            by_id = {c.id: c for c in page.claims(other)}
            for name in ("a_vertex_stays_near", "better_than_unsupervised"):
                assert (by_id[name].verdict == "not tested") == (bleu < 5)
                assert ("hardly read" in by_id[name].measured) == (bleu < 5)

    def test_the_page_gets_what_was_measured(self, tiny):
        model, arrays, golden = page.page_steering(tiny)
        assert not any("logvar" in name for name in arrays)
        for g in golden:
            options = {"margins": g["margins"], "threshold": g["threshold"]}
            assert model.rewrite(g["sentence"], g["weights"], **options) == g["rewrite"]
        walks = page.page_walks(tiny)
        assert [len(w["sentences"]) for w in walks] == [len(tiny.walk.values["sources"])] * 2
        assert walks[0]["log_mean"].shape == (6, 17)
        read = torch.tensor([[0.1, 0.5, 0.9], [0.9, 0.5, 0.1], [0.2, 0.2, 0.3]])
        tensors = {"ordinary.reading": read[1:], "simplex.reading": read}
        chapter = tiny._replace(walk=tiny.walk._replace(tensors=tensors))
        assert "is 1 on the simplex and 0 along" in page.prose_values(chapter)["walk_ends"]

    def test_the_page_s_rewriters_have_examples_of_what_they_can_and_cannot_do(self):
        rewriting = page.page_rewriting()
        assert rewriting.badge.startswith("profile small")
        names = [attribute["name"] for attribute in rewriting.attributes]
        assert names == [name for name in MODELS if name in names]
        assert names[0] == "sentiment"
        weights = [RewriterWeights(**each["weights"]) for each in rewriting.attributes]
        rows = zip(rewriting.attributes, weights, strict=True)
        widget = SentenceSteering([each | {"weights": packed} for each, packed in rows])
        assert widget.sentence == rewriting.attributes[0]["examples"][0]["text"]
        rows = rewriting.attributes[0]["weights"]["golden"]
        changed = [row["rewrites"][0] != row["text"] for row in rows]
        shown = {e["shows"]: e["text"] for e in rewriting.attributes[0]["examples"]}
        assert sum(changed) >= len(rows) / 2
        assert not changed[list(shown).index("Cannot be changed")]
        number = rows[list(shown).index("A number")]
        assert all("40" in rewrite for rewrite in number["rewrites"])

    def test_verify(self, work):
        page.chapter("smoke", recipe=TINY)
        assert all(check["ok"] for check in run.verify(profiles.get("smoke")))
