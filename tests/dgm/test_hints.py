"""The hints of chapters 5 and 6, played on the published results: what they promise is seen."""

import importlib

import hyper_rnn_pages
import numpy as np
import pytest

from dgm.data.text import Vocabulary
from dgm.papers.pooling_vae import influence
from dgm_book import jobs
from dgm_book.chapters.pooling_vae import page as pooling_vae
from dgm_book.chapters.variational_hyper_rnn import page as variational_hyper_rnn
from dgm_book.chapters.variational_hyper_rnn.recipe import PAIR
from dgm_book.chapters.variational_hyper_rnn.run import matrices as systems
from dgm_book.chapters.variational_hyper_rnn.run import reread


@pytest.fixture
def published(monkeypatch):
    """Return ``published(experiment)``, its chapter as the page shows it."""
    monkeypatch.delenv("DGM_RESULTS", raising=False)

    def load(experiment):
        runs = importlib.import_module(experiment.__name__.replace(".page", ".run"))
        profile = jobs.published(jobs.over_seeds(runs.run, 0))
        if profile is None or profile.name != "small":
            pytest.skip("no published results")
        return experiment.chapter("small")

    return load


def test_a_word_moved_to_the_front_counts_less_for_a_last_state_more_for_a_maximum(published):
    chapter = published(pooling_vae)
    vocabulary = Vocabulary(chapter.vocabulary.values["words"])
    at_the_end, in_front, positions = [], [], []
    for sentence in pooling_vae.page_examples(chapter)[:8]:
        *body, stop = sentence.split()
        for word in ("excellent", "terrible", "pizza", "never"):
            at_the_end.append(" ".join([*body, word, stop]))
            in_front.append(" ".join([word, *body, stop]))
            positions.append(1 + len(body))
    corpora = [vocabulary.encode(texts) for texts in (at_the_end, in_front)]
    change = {}
    for kind, model in pooling_vae.page_models(chapter).items():
        end, front = (influence(model, *corpus[:2]) for corpus in corpora)
        change[kind] = (front[:, 1] / end[range(len(end)), positions]).log().numpy()
    assert max(change["last"]) < 0
    assert np.mean(change["max"] > 0) > 0.75


@pytest.mark.parametrize("seed", [0, 3])
def test_noise_makes_both_kls_jump_and_a_new_matrix_does_not(published, seed):
    chapter = published(variational_hyper_rnn)
    matrices, options = systems().numpy(), {"bound": 60.0, "seed": seed}
    opening = [[0, 0, 0.25], [20, 1, 0.25], [40, 1, 4.0]]
    schedule = [*opening, [60, 1, 0.25], [85, 1, 4.0], [110, 4, 4.0]]
    course = hyper_rnn_pages.simulate(matrices, schedule, 135, **options)
    for model in PAIR[chapter.system]:
        result = chapter.sets[chapter.system][model][0]
        net = reread(result, chapter.system, model, chapter.recipe)
        kl = hyper_rnn_pages.follow(net, course, 32, seed).mean_kl.numpy()
        jump = kl[85:87].max() - kl[75:85].mean()
        assert jump > 0.5
        assert kl[88:98].mean() - kl[75:85].mean() < 0.5 * jump
        assert kl[110:113].max() - kl[100:110].mean() < 0.5 * jump
    posterior, _ = hyper_rnn_pages.exact_bayes(course, matrices, (0.25, 1.0, 4.0), 0.04)
    assert posterior[110:135, 4].max() > 0.5
