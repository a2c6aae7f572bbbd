"""A published rewriter is the trained one, but for what int8 leaves out."""

import json

import pytest
import torch
from small_rewriters import VOCABULARY, random_model

from dgm import checkpoint, published, steering
from dgm_book.chapters.controllable_text_vae import rewriter_results


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DGM_RESULTS", str(tmp_path / "results"))
    checkpoint.save(tmp_path / "rewriter.run.safetensors", {"step": 7, "seconds": 1.5})
    scores = json.dumps({"yelp": {"n": 1}, "slider": {"n": 2, "rewrites": []}, "outputs": {}})
    for name in ("rewriter", "rewriter.int8"):
        checkpoint.write_text(tmp_path / f"{name}.test.json", scores)
    return tmp_path


@pytest.mark.parametrize("reader", [True, False])
def test_what_is_published_is_the_trained_model_in_int8(folder, monkeypatch, reader):
    trained = random_model(reader, least_nats=-1.5).requires_grad_(False)
    trained.content[VOCABULARY.id("good")] = False
    result = rewriter_results.publish("sentiment", trained, folder)
    assert result.values["int8"] == {"yelp": {"n": 1}, "slider": {"n": 2}}
    assert result.provenance["steps"] == 7
    place = folder / "results" / rewriter_results.FOLDER / "small"
    monkeypatch.setattr(published, "folders", lambda name: [place])
    loaded = steering.load("sentiment")
    for (name, value), expected in zip(
        loaded.state_dict().items(), trained.state_dict().values(), strict=True
    ):
        if value.ndim > 1:
            step = expected.abs().amax(-1, keepdim=True) / 127
            assert ((value - expected).abs() <= step / 2 + 1e-6).all(), name
        else:
            assert torch.equal(value, expected), name
    assert loaded.least_nats == -1.5
    narrow = rewriter_results.narrowed(trained).state_dict()
    assert all(torch.equal(narrow[k], v) for k, v in loaded.state_dict().items())
