"""What the browser's tests compare the pages with is right itself."""

import itertools
import math

import hyper_rnn_pages as pages
import numpy as np
import pytest
import torch
from hyper_rnn_pages import particle_runs
from page_hashes import ODD, murmur_mix
from quiz import information_at_least
from small_widgets import MATRICES, recurrent

from dgm.papers.variational_hyper_rnn import bound
from dgm.sampling.linear_gaussian import LinearGaussian
from dgm_book.widgets import variational_hyper_rnn as widgets
from dgm_book.widgets.text_weights import MOST_WORDS

RUNS = widgets.FIRST_RUN + np.arange(widgets.N_RUNS)
EXACT = LinearGaussian().filter(torch.tensor(widgets.FIVE, dtype=torch.float64))[0]


def mutual_information(table):
    product = table.sum(1, keepdims=True) * table.sum(0, keepdims=True)
    inside = table > 0
    return (table[inside] * np.log(table[inside] / product[inside])).sum()


@pytest.mark.parametrize("k", [2, 8])
@pytest.mark.parametrize("switch", [0.0, 0.1, 0.4])
def test_a_share_tells_no_more_than_there_is(k, switch):
    """Over all first sentences, next and other topics, places and choices, exactly."""
    stay = np.full((k, k), switch / (k - 1))
    np.fill_diagonal(stay, 1 - switch)
    x, real, other = np.indices((k, k, k))
    p, sign = stay[x, real] / k / k / 2, np.sign(stay[x, other] - stay[x, real])
    best = 0.5 + 0.5 * np.stack([sign, -sign])  # P(C = 1), for each place of what follows
    choosers = {"best": best, "noisy": 0.2 + 0.6 * best, "perverse": 1 - best}
    choosers |= {"one-sided": 0.9 * best, "deaf": 0.3}
    for chooser, second in choosers.items():
        chosen = (p * np.stack([1 - second + 0 * best, second + 0 * best])).sum((2, 3, 4))
        least, information = information_at_least(np.trace(chosen)), mutual_information(chosen.T)
        assert chosen.sum() == pytest.approx(1)
        assert least <= information + 1e-12
        assert information <= min(mutual_information(stay / k) + 1e-12, math.log(2))
        if chooser == "one-sided":
            assert least < information
        else:  # errors do not depend on the choice, or there is nothing to tell
            assert least == pytest.approx(information, abs=1e-12) or chooser == "deaf"
        assert least > 0.2 or (chooser, k, switch) != ("best", 8, 0.1)


def test_the_filter_is_the_bound():
    model = recurrent()["VHRNN"].double()
    x, n = torch.randn(30, 2).double(), 8
    generator = torch.Generator().manual_seed(0)
    noise, draws = [], []
    for _ in range(30):
        noise.append(torch.randn(n, 4, generator=generator, dtype=torch.float64))
        draws.append(torch.rand(1, n, generator=generator, dtype=torch.float64)[0])
    result = pages.filter_sequence(model, x, torch.stack(noise), torch.stack(draws))
    expected = bound(model, x[None], torch.tensor([30]), n, "ess", generator.manual_seed(0))
    assert float(result.increment.sum()) == pytest.approx(float(expected.log_likelihood))
    assert (expected.ess <= 4).any()


def test_exact_bayes_is_the_sum_over_all_pasts():
    matrices, sigmas, hazard = torch.from_numpy(MATRICES[:3]), (0.5, 2.0), 0.1
    course = pages.simulate(matrices, [[0, 1, 0.5], [2, 2, 2.0]], 4, 3, 60.0)
    posterior, increments = pages.exact_bayes(course, matrices, sigmas, hazard)
    places = list(itertools.product(range(3), range(2)))
    for n_steps in (2, 3, 4):
        by_matrix = np.zeros(3)
        for path in itertools.product(places, repeat=n_steps):
            p = 1 / 6 / 4
            for t in range(1, n_steps):
                (k, j), (k_before, j_before) = path[t], path[t - 1]
                p *= 1 - hazard if k == k_before else hazard / 2
                p *= 1 - hazard if j == j_before else hazard
                residual = course.x[t] - matrices[k] @ course.x[t - 1]
                p *= math.exp(-0.5 * residual @ residual / sigmas[j] ** 2)
                p /= 2 * math.pi * sigmas[j] ** 2
            by_matrix[path[-1][0]] += p
        expected = math.log(by_matrix.sum())
        assert float(increments[:n_steps].sum()) == pytest.approx(expected, abs=1e-10)
        share = by_matrix / by_matrix.sum()
        np.testing.assert_allclose(posterior[n_steps - 1], share, atol=1e-10)


def test_the_system_is_the_library_s():
    assert LinearGaussian(**widgets.SYSTEM) == LinearGaussian()
    (five, twenty) = widgets.ParticleKalman().sequences
    assert tuple(five["x"]) == widgets.FIVE
    assert len(twenty["x"]) == 20


def test_the_bounds_stand_in_their_order_and_the_estimate_is_unbiased():
    for n in (4, 16):
        clouds = [particle_runs(widgets.FIVE, n, rule, RUNS) for rule in widgets.CRITERIA]
        values = [cloud.log_likelihood for cloud in clouds]
        never, ess, always = (value.mean() for value in values)
        assert never < ess < always < EXACT
    for value in values:
        ratio = np.exp(value - EXACT)
        assert abs(ratio.mean() - 1) < 4 * ratio.std() / math.sqrt(widgets.N_RUNS)


def test_the_numbers_that_draw_a_page_s_words_are_even_and_their_own():
    places = itertools.product((0, 1, 2, 77, 2**20 - 1), range(40), range(MOST_WORDS))
    counters = np.array([(seed * 64 + i) * 64 + n + 1 for seed, i, n in places])
    numbers = murmur_mix(counters * ODD % 2**32) / 2**32
    assert len(set(numbers)) == len(numbers)
    expected = len(numbers) / 20
    counts = np.histogram(numbers, 20, (0, 1))[0]
    assert ((counts - expected) ** 2 / expected).sum() < 19 + 4 * math.sqrt(2 * 19)  # chi-square
    assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 4 / math.sqrt(len(numbers))
