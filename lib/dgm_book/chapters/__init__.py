"""One package per chapter: which models, data, seeds and sizes at which profile."""

import importlib

from dgm_book import jobs
from dgm_book.claims import Claim

CHAPTERS = {
    "rate_distortion": "01_rate_distortion",
    "mutual_information_lm": "02_mutual_information_lm",
    "bre_gan": "03_bre_gan",
    "controllable_text_vae": "04_controllable_text_vae",
    "pooling_vae": "05_pooling_vae",
    "variational_hyper_rnn": "06_variational_hyper_rnn",
}


def all_claims() -> list[Claim]:
    """The claims of every chapter, from the best profile that has been published."""
    claims: list[Claim] = []
    for name in CHAPTERS:
        run, page = (importlib.import_module(f"{__name__}.{name}.{x}") for x in ("run", "page"))
        if profile := jobs.published(jobs.over_seeds(run.run, 0)):
            claims += page.claims(page.chapter(profile.name))
    return claims
