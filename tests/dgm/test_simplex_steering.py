"""The steering model: votes, masks, attention and rewriting against what their equations say."""

from functools import partial

import pytest
import torch
from checks import close, refuses, share_is
from draws import rng
from torch.distributions import Normal, kl_divergence
from torch.nn import functional

from dgm import simplex_steering as steering
from dgm.data.text import Vocabulary, tokenise
from dgm.simplex_steering import SteeringModel
from dgm.steering import steer

TEXT = "the food was good bad great awful service slow and a place . nice staff rude"
WORDS = TEXT.split()
POSITIVE, NEGATIVE = torch.tensor([0.0, 0.0, 1.0]), torch.tensor([1.0, 0.0, 0.0])


VOCABULARY = Vocabulary(WORDS, unknown_slots=3, mask=True)


def make_model():
    torch.manual_seed(0)
    sizes = {"embedding": 12, "hidden": 20, "context": 16, "voters": 14, "latent_dim": 6}
    output = SteeringModel(VOCABULARY, **sizes).double()
    for parameter in output.parameters():
        # Larger than at the start of training, so that nothing is nearly constant.
        torch.nn.init.normal_(parameter, 0, 0.4)
    return output


@pytest.fixture
def model():
    return make_model()


def words_of(*texts):
    return steering.strip_ends(VOCABULARY.encode(texts).tokens, VOCABULARY)


@pytest.fixture
def words():
    return words_of("the food was good .", "the staff was rude and the food bad", "nice place")


def memory_of(model, words):
    with torch.no_grad():
        return model.remember(words)


class TestReading:
    def test_votes_add_up_to_the_logits(self, model, words):
        reading = model.read(words)
        close(reading.votes.sum(1) + model.weights.bias, reading.logits, rtol=0, atol=1e-12)
        assert (reading.votes[words == 0] == 0).all()
        close(reading.p.sum(1), torch.ones(3, dtype=torch.float64))

    def test_votes_against_by_hand(self, model, words):
        reading, weights = model.read(words), POSITIVE.double()
        assert (steering.votes_against(reading, reading.p) == 0).all()
        votes = steering.votes_against(reading, weights.expand(3, 3))
        by_hand = sum((reading.p[1, k] - weights[k]) * reading.votes[1, 4, k] for k in range(3))
        close(votes[1, 4], by_hand)
        close(steering.votes_against(reading, weights.expand(3, words.shape[1], 3)), votes)

    def test_kl_is_that_of_the_distributions(self, model, words):
        memory = memory_of(model, words)
        assert (memory.kl > 0).all()
        # By sampling: E log q - log p of one sentence's latents.
        with torch.no_grad():
            single = words[2:, :2]
            mu = model.remember(single).latents
            draws = torch.stack([model.remember(single, rng(i)).latents for i in range(4000)])
        spread = draws.std(0)
        q, p = Normal(mu, spread), Normal(0.0 * mu, 1.0)
        sampled = (q.log_prob(draws) - p.log_prob(draws)).sum((1, 2, 3))
        error = sampled.std() / len(sampled) ** 0.5
        # The spread is estimated too; its error is of second order in the log-density.
        assert abs(float(sampled.mean() - memory.kl[2])) < 4 * float(error) + 24 * 2 / 4000


class TestMasking:
    def test_what_is_above_the_margin(self, words):
        votes = torch.zeros(words.shape, dtype=torch.float64)
        votes[0, 3], votes[1, 3], votes[1, 1] = 1.0, 1.0, 0.4
        masked = steering.mask_source(words, votes, torch.tensor([0.5, 0.3, 0.0]), VOCABULARY.mask)
        changed = (masked != words).nonzero().tolist()
        assert changed == [[0, 3], [1, 1], [1, 3]]
        assert (masked[masked != words] == VOCABULARY.mask).all()

    def test_only_runs_of_masks_change_their_length(self):
        words = words_of(*["the food was good and the staff was rude ."] * 400)
        source = words.clone()
        source[:, 3:5] = VOCABULARY.mask
        source[:, 8] = VOCABULARY.mask
        masked = steering.corrupt_masks(words, VOCABULARY.mask, rng(), share=0.1, stretch=0.0)
        masks = masked == VOCABULARY.mask
        assert share_is(int(masks.sum()), 0.1, int((words != 0).sum()))
        output = steering.corrupt_masks(source, VOCABULARY.mask, rng(), share=0.0, stretch=0.4)
        words = [[t for t in row if t not in (0, VOCABULARY.mask)] for row in output.tolist()]
        assert all(row == [t for t in source[0].tolist() if t != VOCABULARY.mask] for row in words)
        masks = (output == VOCABULARY.mask).sum(1)
        # Two runs: the first has 1, 2 or 3 masks, the second 1 or 2.
        assert (int(masks.min()), int(masks.max())) == (2, 5)
        first = {1: 0.6 * 0.4, 2: 0.6 * 0.6 + 0.4 * 0.4, 3: 0.4 * 0.6}
        second = {1: 0.6, 2: 0.4}
        chance = sum(a * b for m, a in first.items() for n, b in second.items() if m + n > 3)
        assert share_is(masks > 3, chance)


class TestDecoder:
    def test_log_likelihood_word_by_word(self, model, words):
        memory, z1 = memory_of(model, words), model.vertices[:3]
        whole = steering.sentence_log_likelihood(model, words, z1, memory)
        for row in range(3):
            text = [t for t in words[row].tolist() if t]
            alone, z = steering.Memory(*(x[row : row + 1] for x in memory)), z1[row : row + 1]
            state, total, last = model.start(z, alone), 0.0, VOCABULARY.start
            for t, word in enumerate([*text, VOCABULARY.end]):
                logits, state = model.decode(torch.tensor([[last]]), z, alone, state, first=t)
                total += float(torch.log_softmax(logits[0, 0].detach(), -1)[word])
                last = word
            # The library sums in float32.
            assert float(whole[row]) == pytest.approx(total, abs=2e-4)


class TestObjective:
    def test_terms_by_hand(self, model, words):
        targets = torch.tensor([[0.0, 0.2, 0.8], [1, 0, 0], [0, 1, 0]], dtype=torch.float64)
        terms = steering.steering_objective(model.float(), words, targets.float(), rng())
        reading = model.read(words)
        label = functional.cross_entropy(reading.logits, targets.float())
        close(terms.label, label)
        mean = reading.p @ model.vertices
        prior, q = Normal(0.0, 1.0), Normal(mean, (model.simplex_logvar / 2).exp())
        kl = kl_divergence(q, prior)
        close(terms.simplex_kl, kl.sum(1).mean())
        loss = sum(w * float(term) for w, term in zip(steering.LOSS_WEIGHTS, terms, strict=True))
        assert float(terms.loss()) == pytest.approx(loss, rel=1e-5)


SHARED = ("quux", "blarg", "frob")  # what the last of three slots stands for


class TestRewriting:
    SENTENCES = ("the food was good .", "kumquat staff was rude", "nice")

    @pytest.fixture
    def model(self, model):
        return model.float()

    def test_each_word_is_the_most_probable_of_those_that_may_follow(self, model):
        text = "the food was good ."
        (rewrite,) = steering.rewrite_at(model, [text], POSITIVE[None], 1e9)
        memory, z1 = memory_of(model, words_of(text)), POSITIVE[None] @ model.vertices
        written = words_of(rewrite.text)
        previous = functional.pad(written, (1, 0), value=VOCABULARY.start)
        logits, _ = model.decode(previous, z1, memory, model.start(z1, memory))
        logits = logits[0].detach()
        # No marker, no unknown word, and no end before the first word.
        logits[:, [0, 1, 3, 4, 5, VOCABULARY.mask]] = -torch.inf
        logits[0, VOCABULARY.end] = -torch.inf
        assert torch.equal(logits.argmax(-1)[: written.shape[1]], written[0])
        assert 0 <= rewrite.agreement <= 1

    def test_stops_at_the_first_margin_that_agrees(self, model):
        weights = POSITIVE.expand(3, 3)
        first = steering.rewrite(model, self.SENTENCES, weights, margins=(0.9, 0.0), threshold=0.0)
        assert [r.margin for r in first] == [0.9] * 3
        best = steering.rewrite(model, self.SENTENCES, weights, margins=(0.9, 0.0), threshold=1.1)
        each = [steering.rewrite_at(model, self.SENTENCES, weights, m) for m in (0.9, 0.0)]
        for chosen, *both in zip(best, *each, strict=True):
            agreement = max(rewrite.agreement for rewrite in both)
            assert chosen.agreement == pytest.approx(agreement, abs=1e-6)

    def test_switch_in_mid_sentence(self, model):
        text = ["the food was good and the staff was nice ."]
        plain = steering.rewrite_at(model, text, NEGATIVE[None], 1e9)[0].text.split()
        options = {"switch_at": 4, "weights_after": POSITIVE[None]}
        (other,) = steering.rewrite_at(model, text, NEGATIVE[None], 1e9, **options)
        switched = other.text.split()
        assert plain[:4] == switched[:4]
        assert plain != switched

    def test_every_unknown_word_is_written_at_most_as_often_as_it_was_read(self, model):
        vocabulary = model.vocabulary
        source = "the kumquat zorp was quux and blarg frob"
        model.word_bias.data[vocabulary.unknown + 2] += 50  # nothing but the last slot, if it may
        for text in (source, "the kumquat zorp was good", "zorp was good"):
            (best,) = steering.rewrite_at(model, [text], POSITIVE[None], 0.5)
            words = best.text.split()
            assert "<unk>" not in words
            # Of what the last slot stands for, all is written, in order.
            shared = [w for w in text.split() if w in SHARED]
            assert [w for w in words if w in SHARED] == shared

    def test_numbers_are_not_invented_in_what_somebody_typed(self):
        torch.manual_seed(0)
        vocabulary = Vocabulary([*WORDS, "_num_"], unknown_slots=3, mask=True)
        model = SteeringModel(vocabulary, embedding=12, hidden=20, context=16, voters=14)
        model.word_bias.data[vocabulary.id("_num_")] = 30.0
        read = steering.rewrite_at(model, ["the food was good"], POSITIVE[None], 1.0)
        assert read[0].text.count("_num_") > 1
        assert "_num_" not in model.rewrite("the food was good for 12", POSITIVE)
        assert model.rewrite("the _num_ food", POSITIVE).split().count("_num_") == 1

    def test_sentences_are_rewritten_one_by_one(self, model):
        sentences = ["the food was good .", "a Kumquat !", "nice staff and bad kumquat food"]
        options = {"margins": (0.5, 0.1)}
        expected = [
            steering.rewrite(model, [s.lower()], POSITIVE[None], **options)[0].text
            for s in sentences
        ]
        assert model.rewrite(" ".join(sentences), POSITIVE, **options) == " ".join(expected)
        # One without a known word has nothing to steer.
        words = model.rewrite("the food was good . zorp Quux", POSITIVE, **options)
        assert words == f"{expected[0]} zorp quux"

    def test_a_switch_counts_the_words_of_the_whole_text(self, model):
        first, second = "the food was good .", "the staff was nice ."
        options = {"margins": (0.5,), "weights_after": POSITIVE[None]}
        words = model.rewrite(f"{first} {second}", NEGATIVE, switch_at=7, **options)
        expected = [
            model.rewrite(text, NEGATIVE, switch_at=at, **options)
            for text, at in ((first, 7), (second, 2))
        ]
        assert words == " ".join(expected)
        assert expected[1] != model.rewrite(second, NEGATIVE, switch_at=7, **options)

    def test_steer_scales_the_weights(self, model):
        text = steer(model, "The food was good.", [3, 0, 1])
        assert text == model.rewrite("the food was good.", torch.tensor([0.75, 0.0, 0.25]))

    @pytest.mark.parametrize(
        ("typed", "pieces"),
        [
            ("It cost $3.50. Nice!", ["it cost $ 3.50 .", "nice !"]),
            ("no !!! really ?! ( yes . ) ok", ["no ! ! !", "really ? !", "( yes . )", "ok"]),
            ("Dr. Who left... today. bye", ["dr. who left ... today .", "bye"]),
            ("a , " + "b " * 30, ["a ,", "b " * 29 + "b"]),
            ("a " * 31 + "b", ["a " * 29 + "a", "a b"]),
            (
                ", " + "a " * 20 + ", b " + "a " * 20,
                [", " + "a " * 20 + ",", "b " + "a " * 19 + "a"],
            ),
        ],
    )
    def test_text_is_cut_behind_ends_and_pauses(self, typed, pieces):
        """Each piece is rewritten on its own, and nothing is lost."""
        torch.manual_seed(0)
        words = sorted(set(" ".join(pieces).split()))
        sizes = {"embedding": 4, "hidden": 4, "context": 4, "voters": 4, "latent_dim": 3}
        as_typed = partial(tokenise, keep_numbers=True)
        model = SteeringModel(Vocabulary(words, mask=True), **sizes, tokenise=as_typed)
        expected = [steering.rewrite(model, [p], POSITIVE[None])[0].text for p in pieces]
        assert model.rewrite(typed, POSITIVE) == " ".join(expected)


MODEL = make_model().float()
NO_PLACES = [1, 0], [1, 0, 0, 0], [-1, 1, 1], [0, 0, 0], [torch.nan, 0, 1], 1.0, [torch.inf, 1, 0]
REFUSED = {
    "sentence 1": partial(steering.rewrite, MODEL, ["good", ""], torch.eye(3)[:2]),
    "at least one": partial(steering.rewrite, MODEL, [], torch.eye(3)[:0]),
    "sum to 1": partial(steering.rewrite, MODEL, ["good"], torch.full((1, 3), 0.5)),
    "0 or more": partial(steering.rewrite, MODEL, ["good"], torch.tensor([[1.5, 0.0, -0.5]])),
    "must be": partial(steering.rewrite, MODEL, ["good"], torch.eye(3)),
    "sentence 1 has more than 30 words": partial(
        steering.rewrite, MODEL, ["good", "good " * 31], torch.eye(3)[:2]
    ),
    "sentence": [partial(steer, MODEL, s, [1, 0, 0]) for s in ("", "  \n", None, 3)],
    "no word": [partial(MODEL.rewrite, text, POSITIVE) for text in ("", "  ", "\n")],
    "weights": [partial(steer, MODEL, "good", weights) for weights in NO_PLACES],
    "mask": partial(SteeringModel, Vocabulary(WORDS)),
}
test_what_cannot_be_steered_is_refused = refuses(REFUSED)
