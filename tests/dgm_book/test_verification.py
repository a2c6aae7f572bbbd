"""A published number is compared with recomputed ones within the error of both."""

import pytest

from dgm_book.verification import check


@pytest.mark.parametrize(
    ("published", "ok"), [(1.0, True), (1.0 + 0.45, True), (1.0 + 0.47, False), (0.5, False)]
)
def test_four_standard_errors_of_one_sample_and_a_mean(published, ok):
    # Three others of standard deviation 0.1: four times 0.1 sqrt(4 / 3) is 0.462.
    outcome = check("it", published, [0.9, 1.0, 1.1])
    assert outcome["ok"] is ok
    assert outcome["recomputed"] == pytest.approx(1.0)
    assert outcome["standard_error"] == pytest.approx(0.1 * (4 / 3) ** 0.5)


def test_one_other_has_no_noise():
    assert check("it", 1.0, [1.0])["ok"]
    assert not check("it", 1.001, [1.0])["ok"]
    assert check("it", 1.001, [1.0], rounding=0.01)["ok"]
