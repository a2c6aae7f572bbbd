"""Chapter 4's experiment: the smoke recipe reaches its marks, and the whole chapter runs at a tiny size."""

import functools
import json
import os
from pathlib import Path

import pytest
import torch
from dgm_book.chapters.controllable_text_vae.self_training import anchored_targets

from dgm import checkpoint
from dgm.data import synthetic, text
from dgm.papers.controllable_text_vae import steer
from dgm.steering import rewrite
from dgm_book import jobs, profiles, results
from dgm_book.chapters import CHAPTERS, all_claims
from dgm_book.chapters.controllable_text_vae import codes as sentence_codes
from dgm_book.chapters.controllable_text_vae import judges as text_judges
from dgm_book.chapters.controllable_text_vae import page as experiment
from dgm_book.chapters.controllable_text_vae import steering as sentence_steering

# Where `make test` has just trained the chapter at smoke size; without it the model is trained here.
SMOKE_RESULTS = os.environ.get("DGM_RESULTS")


@pytest.fixture(scope="module")
def smoke_model(work):
    profile = profiles.get("smoke")
    with pytest.MonkeyPatch.context() as patch:
        if SMOKE_RESULTS:
            patch.setenv("DGM_RESULTS", SMOKE_RESULTS)
        return sentence_steering.trained(profile, sentence_steering.settings(profile).labels[0], 0)


class TestSmoke:
    def test_a_vertex_changes_the_sentiment_and_keeps_the_rest(self, smoke_model):
        test = text.load("reviews", "test")
        made = rewrite(smoke_model, test.texts, sentence_steering.opposite(test.labels))
        flipped, kept = [], []
        for found, source, label in zip(made, test.texts, test.labels.tolist(), strict=True):
            flipped.append(synthetic.sentiment_of(found.text) == 1 - label)
            wanted = set(synthetic.content_words(source))
            kept.append(len(wanted & set(found.text.split())) / len(wanted))
        assert sum(flipped) / len(flipped) >= 0.9
        assert sum(kept) / len(kept) >= 0.7

    def test_the_page_model_is_nearly_the_same(self, smoke_model):
        tensors = sentence_steering.page_tensors(smoke_model)
        small = sentence_steering.from_page(tensors, smoke_model.vocabulary.words)
        test = text.load("reviews", "test")
        weights = sentence_steering.opposite(test.labels)
        whole, rounded = (rewrite(m, test.texts, weights) for m in (smoke_model, small))
        same = sum(a.text == b.text for a, b in zip(whole, rounded, strict=True))
        assert 0.8 * len(whole) <= same
        size = sum(t.numel() * t.element_size() for t in tensors.values())
        assert size < 0.5 * sum(4 * p.numel() for p in smoke_model.parameters())

    def test_page_arrays_are_half_a_step_off_at_most(self, smoke_model):
        tensors = sentence_steering.page_tensors(smoke_model)
        arrays = sentence_steering.page_arrays(tensors)
        exact = smoke_model.state_dict()["lstm.weight_hh_l0"]
        step = tensors["lstm.weight_hh_l0.scale"][:, None]
        assert ((arrays["lstm.weight_hh_l0"] - exact).abs() <= 0.5001 * step).all()
        with pytest.raises(ValueError, match="no page model"):
            sentence_steering.from_page(
                {**tensors, "more": torch.zeros(2)}, smoke_model.vocabulary.words
            )


PUBLISHED = Path(__file__).parents[4] / f"book/results/{experiment.CHAPTER}/small/page-seed0"


@pytest.fixture(scope="module")
def page():
    records = json.loads((PUBLISHED.parent / "results.json").read_text())
    words = records[PUBLISHED.name]["values"]["words"]
    return sentence_steering.from_page(
        checkpoint.load(PUBLISHED.with_suffix(".safetensors")), words
    )


class TestPublished:
    """The page's model on what a visitor types."""

    @pytest.mark.parametrize("weights", [[1, 0, 0], [0, 0, 1]])
    def test_numbers_names_and_all_sentences_come_back(self, page, weights):
        typed = (
            "We paid 12.50 for 3 tacos. Zorbon was great! Kwixel waited 1,000 minutes, Plimt left."
        )
        words = steer(page, typed, weights).split()
        for w in ("12.50", "3", "1,000", "zorbon", "kwixel", "plimt"):
            assert words.count(w) == 1
        assert not {"<unk>", "_num_"} & set(words)
        assert sum(w in (".", "!", "?") for w in words) == 3

    @pytest.mark.parametrize("weights", [[1, 0, 0], [0, 0, 1]])
    def test_six_unknown_words(self, page, weights):
        names = ["zorbon", "kwixel", "plimt", "grudnak", "vexlo", "tromsk"]
        typed = "{} and {} served {} with {} , {} and {} , and the food was great .".format(*names)
        words = steer(page, typed, weights).split()
        assert [w for w in words if w in names] == names
        assert "<unk>" not in words

    def test_forty_words_without_a_full_stop(self, page):
        typed = "we came for lunch , " * 9 + "and the staff was zorbon"
        words = steer(page, typed, [0, 0, 1]).split()
        assert len(words) > 40
        assert words[-1] == "zorbon" or words[-2] == "zorbon"


class TestTargets:
    def test_a_few_labels_teach_the_others(self):
        train = text.load("reviews", "train")
        vocabulary = text.Vocabulary.build(train.texts, 200)
        corpus = vocabulary.encode(train.texts)
        vectors = text.word_vectors(corpus.tokens, len(vocabulary), 16)
        weights = text.frequency_weights(corpus.tokens, len(vocabulary))
        features = text.sentence_features(corpus.tokens, corpus.lengths, vectors, weights)
        labels = torch.full((len(train.texts),), -1)
        labels[:100] = train.labels[:100]
        targets = anchored_targets(train.texts, features, labels)
        torch.testing.assert_close(targets.sum(1), torch.ones(len(targets)))
        given = torch.eye(3)[2 * train.labels[:100]]
        assert torch.equal(targets[:100], given)
        guessed = (targets[100:, 2] > targets[100:, 0]).long()
        assert (guessed == train.labels[100:]).double().mean() > 0.9

    def test_needs_both_classes(self):
        with pytest.raises(ValueError, match="two of each class"):
            anchored_targets(["a", "b"], torch.zeros(2, 3), torch.tensor([0, -1]))


class TestChoosing:
    def point(self, accuracy, kept):
        return {"accuracy": {"mean": accuracy}, "bleu_source": {"mean": kept}}

    def test_keeps_most_among_the_accurate(self):
        points = [self.point(80, 70), self.point(87, 60), self.point(95, 50)]
        assert sentence_steering.chosen_point(points, 86) == 1
        assert sentence_steering.chosen_point(points, 99) == 2

    def test_first_agreeing_is_what_rewrite_keeps(self, smoke_model):
        test = sentence_steering.some_of_each(text.load("reviews", "test"), 20)
        assert test.labels.tolist() == [0] * 20 + [1] * 20
        made = sentence_steering.candidates(smoke_model, test)
        kept = sentence_steering.first_agreeing(made, 0.8)
        direct = rewrite(
            smoke_model,
            test.texts,
            sentence_steering.opposite(test.labels),
            margins=sentence_steering.LADDER,
            threshold=0.8,
        )
        assert [r.text for r in kept] == [r.text for r in direct]

    def test_measures_against_the_opposite(self):
        class Judges:
            def classify(self, texts):
                return torch.tensor([0.9, 0.1, 0.9])

            def negative_log_likelihood(self, texts):
                return torch.tensor([1.0, 2.0, 3.0]).double(), torch.tensor([1, 2, 3])

        sentences = text.Sentences(["a b c d e"] * 3, torch.tensor([0, 1, 1]), ["a b c d f"] * 3)
        found = sentence_steering.measured(Judges(), ["a b c d e"] * 3, sentences)
        assert found["accuracy"]["mean"] == pytest.approx(200 / 3)
        assert found["bleu_source"]["mean"] == pytest.approx(100)
        assert found["bleu_reference"]["mean"] < 90
        assert found["perplexity"]["mean"] == pytest.approx(2.718281828)
        assert found["copies"] == 3


class TestDensities:
    def test_shift_of_a_moved_gaussian(self):
        generator = torch.Generator().manual_seed(0)
        original = torch.randn(4000, generator=generator, dtype=torch.float64)
        found = sentence_codes.shift(original, original + 2)
        assert found["shift"]["mean"] == pytest.approx(2)
        assert found["in_standard_deviations"] == pytest.approx(2, rel=0.05)
        # The overlap of two unit Gaussians two apart is 2 Phi(-1).
        assert found["overlap"] == pytest.approx(0.3173, abs=4 * (0.3173 / 4000) ** 0.5)


@pytest.fixture(scope="module")
def tiny(work):
    """A whole chapter with sizes that only show that it runs."""
    from dgm_book import __main__ as command

    profile = profiles.get("smoke")
    sizes = experiment.settings(profile)._replace(steps=15, hidden=16, embedding=8, n_sentences=600)
    work.setattr(experiment, "settings", lambda profile: sizes)
    work.setattr(sentence_codes, "settings", lambda profile: sizes)
    small = sentence_steering.settings(profile)._replace(
        steps=(25,), n_sentences=900, labels=(150,)
    )
    work.setattr(sentence_steering, "settings", lambda profile: small)
    judging = text_judges.settings(profile)._replace(classifier_steps=20, language_steps=20)
    work.setattr(text_judges, "settings", lambda profile: judging)
    # What takes longest at this size: the same sentences made 31 times, and 1000 resamples a score.
    work.setattr(synthetic, "review_grammar", functools.cache(synthetic.review_grammar))
    resampled = text_judges._resampled
    work.setattr(
        text_judges,
        "_resampled",
        lambda value, n, n_resamples, seed: resampled(value, n, 50, seed),
    )
    assert command.main(["controllable_text_vae", "--profile", "smoke"]) == 0
    return profile


class TestChapter:
    def test_loads_what_was_published(self, tiny, monkeypatch):
        monkeypatch.setattr(sentence_codes, "trained", None)  # nothing may be trained again
        monkeypatch.setattr(sentence_steering, "trained", None)
        found = experiment.chapter("auto")
        assert found.profile.name == "smoke"
        assert all(r.current for r in [found.page, found.walk, found.released, *found.simplex])
        assert CHAPTERS["controllable_text_vae"] == experiment.CHAPTER
        (path,) = results.folder().rglob("results.json")
        assert set(json.loads(path.read_text())) == set(jobs.load(experiment.run, tiny.name, 0)[1])

    def test_claims_follow_the_results(self, tiny):
        found = experiment.chapter("smoke")
        made = experiment.claims(found)
        assert len(made) == 8
        assert all_claims() == made
        released = found.released
        values = {**released.values, "dispersion": {**released.values["dispersion"], "spread": 0.5}}
        better = found._replace(released=released._replace(values=values))
        assert experiment.claims(better)[3].verdict == "holds"

    def test_the_page_gets_what_was_measured(self, tiny):
        found = experiment.chapter("smoke")
        model, arrays, golden = experiment.page_steering(found)
        assert not any("logvar" in name for name in arrays)
        assert all(model.rewrite(g["sentence"], g["weights"], margins=g["margins"],
                                 threshold=g["threshold"]) == g["rewrite"] for g in golden)  # fmt: skip
        walks = experiment.page_walks(found)
        assert [len(w["sentences"]) for w in walks] == [len(found.walk.values["sources"])] * 2
        assert walks[0]["log_mean"].shape == (6, 17)

    def test_the_prose_says_what_the_results_say(self, tiny):
        found = experiment.chapter("smoke")
        read = torch.tensor([[0.1, 0.5, 0.9], [0.9, 0.5, 0.1], [0.2, 0.2, 0.3]])
        walked = {"ordinary.reading": read[1:], "simplex.reading": read}
        values = {"sources": ["a", "b", "c"], "ordinary": [], "simplex": []}
        one = found._replace(walk=found.walk._replace(tensors=walked, values=values))
        said = experiment.page_text(one)
        assert "of these 3" in said["walk_ends"]
        assert "is 1 on the simplex and 0 along" in said["walk_ends"]
        graph = {"5": {"n_components": 9, "n_nodes": 11}, "10": {"n_components": 4, "n_nodes": 4}}
        falls = [r._replace(values={**r.values, "mapper": graph}) for r in found.ordinary]
        pieces = experiment.page_text(found._replace(ordinary=falls))["mapper_pieces"]
        assert "9.0 pieces with 11.0 nodes in all at 5" in pieces
        assert "4.0 pieces with 4.0 nodes in all at 10" in pieces
        steps = experiment.training_steps(found)
        row = experiment.claims(found)[3].measured
        assert f"{steps['released']} of {steps['own']}" in row
        assert steps["released"] < steps["own"]

    def test_steer_in_two_lines(self, tiny):
        model = experiment.steering_model()
        said = steer(model, "The SUSHI was great!", [1, 0, 0])
        assert said == model.rewrite("the sushi was great !", [1.0, 0.0, 0.0])
        with pytest.raises(ValueError, match="weights"):
            steer(model, "the sushi was great", [1, 0])

    def test_verify(self, tiny):
        assert all(check["ok"] for check in experiment.verify(tiny))
