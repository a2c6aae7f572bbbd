"""A published rewriter is the trained one, but for what int8 leaves out."""

import json

import pytest
import torch

from dgm import checkpoint
from dgm.nets.copying import CopyingTransformer, Sizes
from dgm_book.chapters.controllable_text_vae import pairs, rewriter_results
from dgm_book.chapters.controllable_text_vae.rewriter_results import Vocabulary

WORDS = ["the", "food", "was", "good", "bad", "."]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DGM_RESULTS", str(tmp_path / "results"))
    small = Sizes(16, 2, 1, 1, 24)
    monkeypatch.setattr(
        rewriter_results,
        "CopyingTransformer",
        lambda size, first, dropout=0.0: CopyingTransformer(size, first, small, dropout),
    )
    torch.manual_seed(0)
    size = Vocabulary(WORDS, pairs.SLOTS)
    weights = {"model": CopyingTransformer(len(size), size.first_word, small).state_dict()}
    checkpoint.save(tmp_path / "rewriter.safetensors", weights)
    checkpoint.save(tmp_path / "rewriter.run.safetensors", {"step": 7, "seconds": 1.5})
    checkpoint.write_text(tmp_path / "vocabulary.json", json.dumps(WORDS))
    scores = json.dumps({"yelp": {"n": 1}, "slider": {"n": 2, "rewrites": []}})
    for name in ("rewriter", "rewriter.int8"):
        checkpoint.write_text(tmp_path / f"{name}.test.json", scores)
    return tmp_path


def test_what_is_published_is_the_trained_model_in_int8(folder):
    result = rewriter_results.published(folder)
    assert result.values["int8"] == {"yelp": {"n": 1}, "slider": {"n": 2}}
    assert result.provenance["steps"] == 7
    vocabulary, model = rewriter_results.restored(result)
    assert vocabulary.words == WORDS
    trained = checkpoint.load(folder / "rewriter.safetensors")["model"]
    for name, value in model.state_dict().items():
        step = trained[name].abs().amax(-1, keepdim=True) / 127
        assert ((value - trained[name]).abs() <= step / 2 + 1e-6).all()
    rewriter_results.main([str(folder), "--int8"])
    written = checkpoint.load(folder / "rewriter.int8.safetensors")["model"]
    assert all(torch.equal(written[k], v) for k, v in model.state_dict().items())
