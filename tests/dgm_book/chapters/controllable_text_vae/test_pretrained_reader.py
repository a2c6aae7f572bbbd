import json

import numpy as np
import pytest
import torch

from dgm_book.chapters.controllable_text_vae import minilm, pretrained_reader
from dgm_book.chapters.controllable_text_vae.minilm import Encoder, WordPieces
from dgm_book.chapters.controllable_text_vae.neural_reader import Example
from dgm_book.chapters.controllable_text_vae.pretrained_reader import PretrainedReader, Reader

WORDS = ("the", "soup", "was", "not", "good", "bad", "awful", "great", "!")
PIECES = WordPieces([*minilm.MARKS, *WORDS])
LABELLED = [Example("the soup was good", 1, False), Example("the soup was not good", 0, False)]
GRADED = [
    Example(f"the soup was {word} !", float(grade), True)
    for word, grade in (("awful", 0), ("bad", 1), ("good", 3), ("great", 4))
]
DEV = {"yelp": LABELLED, "graded": LABELLED}


@pytest.fixture
def model(monkeypatch):
    monkeypatch.setattr(pretrained_reader, "ROUND", {"labelled": 12, "graded": 12, "negated": 0})
    monkeypatch.setattr(pretrained_reader, "BATCH_SIZE", 8)
    monkeypatch.setattr(pretrained_reader, "WARM_UP", 2)
    monkeypatch.setattr(pretrained_reader, "MEASURE_EVERY", 5)
    torch.manual_seed(0)
    encoder = Encoder(len(PIECES.ids), layers=1)
    torch.nn.init.normal_(encoder.places.weight, std=0.1)
    return PretrainedReader(PIECES, encoder)


def trained(model, steps=9, file=None):
    sources = {"labelled": LABELLED, "graded": GRADED}
    return pretrained_reader.train(model, sources, DEV, steps, file)


def test_values_start_in_the_middle_and_are_those_of_each_text(model):
    texts = ["the soup", "good", "the soup was not good", "good", ""]
    reader = Reader(model.eval())
    assert reader(texts).tolist() == [2.0] * 5
    assert reader([]).shape == (0,)
    torch.nn.init.normal_(model.output.weight)
    values = reader(texts)
    assert values.dtype == np.float64
    assert values[1] == values[3] != values[0]
    assert np.allclose(values, [reader([t])[0] for t in texts], atol=0.05)


def test_it_learns_grades_and_negators_and_leaves_the_words_as_they_are(model):
    words = model.encoder.words.weight.detach().clone()
    reader = trained(model, 25)
    values = reader([e.text for e in GRADED])
    assert (np.diff(values) > 0).all()
    good, not_good = reader([e.text for e in LABELLED])
    assert good > 2 > not_good
    assert torch.equal(model.encoder.words.weight, words)


def test_an_interrupted_training_goes_on_as_if_it_had_not_been(model, tmp_path, monkeypatch):
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    whole = trained(model)(["the soup was bad"])
    mean_loss, calls = pretrained_reader.neural_reader.mean_loss, iter(range(7))

    def interrupted(*given):
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return mean_loss(*given)

    model.load_state_dict(start)
    file = tmp_path / "run.safetensors"
    with monkeypatch.context() as patch:
        patch.setattr(pretrained_reader.neural_reader, "mean_loss", interrupted)
        with pytest.raises(KeyboardInterrupt):
            trained(model, file=file)
    assert file.exists()
    model.load_state_dict(start)
    assert trained(model, file=file)(["the soup was bad"]) == whole


def test_a_saved_reader_needs_no_package(tmp_path):
    six = PretrainedReader(PIECES, Encoder(len(PIECES.ids)))
    torch.nn.init.normal_(six.output.weight, std=0.1)
    pretrained_reader.save(tmp_path / "judge.safetensors", six)
    loaded = pretrained_reader.load(tmp_path / "judge.safetensors")
    texts = ["the soup was not good", "great !"]
    assert np.allclose(loaded(texts), Reader(six.eval())(texts), atol=0.05)
    assert loaded.model.output.weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("sentence", "typed"),
    [
        ("it 's not bad , i did n't mind", "it's not bad , i didn't mind"),
        ("_num_ `` stars '' -lrb- or so -rrb-", '5 " stars " ( or so )'),
        ("the 'soup'", "the 'soup'"),
    ],
)
def test_the_data_are_read_as_somebody_types(sentence, typed):
    assert pretrained_reader.as_typed(sentence) == typed


def test_known_sentences_and_their_parts_are_left_out():
    texts = [
        "Good soup !",
        "good soup , bad bread",
        "a film that nobody should have to sit through . ever .",
        "nobody should have to sit through",
        "through",
    ]
    rows = [Example(t, 0, False) for t in texts]
    known = ["good soup", "that nobody should have to sit through"]
    assert pretrained_reader.neural_reader.without(rows, known) == rows[1:]
    assert pretrained_reader.neural_reader.without(rows, known, parts=True) == [rows[1]]


def test_what_is_correct_is_on_the_labels_side():
    right = pretrained_reader.correct(lambda texts: np.array([2.5, 2.5]), LABELLED)
    assert right.tolist() == [1.0, 0.0]


def test_lines_are_labelled_once(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained_reader, "CHUNK", 2)
    source, target, read = tmp_path / "in.txt", tmp_path / "out.txt", []
    source.write_text("a\nbb\n\nc\u2028c\nddddd", "utf-8")

    def reader(texts):
        read.append(len(texts))
        if len(read) == 2:
            raise KeyboardInterrupt
        return np.array([len(t) for t in texts])

    with pytest.raises(KeyboardInterrupt):
        pretrained_reader.label(reader, source, target)
    pretrained_reader.label(reader, source, target)
    pretrained_reader.label(reader, source, target)
    assert target.read_text("utf-8").split() == ["1.000", "2.000", "0.000", "3.000", "5.000"]
    assert read == [2, 2, 2, 1]


def test_the_command_trains_scores_and_labels_once(model, tmp_path, monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(minilm, "pretrained", lambda: (PIECES, Encoder(len(PIECES.ids))))
    monkeypatch.setattr(pretrained_reader, "examples", dict)
    monkeypatch.setattr(pretrained_reader, "held_out", dict)
    monkeypatch.setattr(
        pretrained_reader, "train", lambda model, *_: calls.append("train") or Reader(model)
    )
    monkeypatch.setattr(pretrained_reader, "scores", lambda _: calls.append("scores") or {"n": 1})
    (tmp_path / "in.txt").write_text("the soup\n", "utf-8")
    for _ in range(2):
        arguments = ["--label", str(tmp_path / "in.txt"), str(tmp_path / "out.txt")]
        pretrained_reader.main([str(tmp_path / "run"), *arguments])
        assert json.loads(capsys.readouterr().out) == {"n": 1}
    assert calls == ["train", "scores"]
    assert (tmp_path / "out.txt").read_text("utf-8") == "2.000\n"
