"""The corpus written by hand: its form, its splits, and that it is nobody else's."""

import gzip
import re

import pytest

from dgm import paths
from dgm.data import graded_sentences
from dgm.data.graded_sentences import COLUMNS, SPLITS

TEXT_DATA = """
    yelp-li yelp-shen yelp-li-systems amazon-li amazon-li-train-subset sentences vader-snippets
    style-captions flickr-captions shakespeare-modern ptb wikitext-2 tiny-shakespeare
    """.split()  # noqa: SIM905
PRINTABLE = set(map(chr, range(32, 127)))
CORPUS = graded_sentences._FILE.parent
# With so many columns.
OTHERS = {"opposite_pairs": 2, "negators": 2, "captions": 3, "shakespeare": 2}
LINE = "hotel\tplain\tVile bed.\tPoor bed.\tA bed.\tGood bed.\tBest bed."


@pytest.fixture(scope="module")
def splits():
    return {split: graded_sentences.load(split) for split in SPLITS}


def write(path, *lines):
    path.write_text("\n".join(["\t".join(COLUMNS), *lines]) + "\n")
    return path


def normalised(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def test_every_sentence_is_plain_text_of_a_size_to_type(splits):
    for items in splits.values():
        for sentence in (s for item in items for s in item.sentences):
            assert set(sentence) <= PRINTABLE
            assert 1 <= len(sentence.split()) <= 30, sentence


def test_dev_and_test_are_held_out_by_item(splits):
    spoken = {k: {normalised(s) for i in v for s in i.sentences} for k, v in splits.items()}
    assert not spoken["train"] & (spoken["dev"] | spoken["test"])
    assert not spoken["dev"] & spoken["test"]


def test_an_item_keeps_its_split_when_others_are_added(tmp_path, splits):
    items = splits["dev"][:5]
    lines = ["\t".join([item.domain, ",".join(item.kinds), *item.sentences]) for item in items]
    path = write(tmp_path / "items.tsv", LINE, *lines)
    assert graded_sentences.load("dev", path)[-5:] == items


def by_hand(name):
    """All sentences of another file of the corpus, by columns."""
    lines = (CORPUS / f"{name}.tsv").read_text("utf-8").splitlines()[1:]
    return [line.split("\t") for line in lines]


@pytest.mark.parametrize(("name", "columns"), OTHERS.items())
def test_other_sentences_by_hand_are_plain_and_none_comes_twice(name, columns):
    rows = by_hand(name)
    assert {len(row) for row in rows} == {columns}
    assert all(set(field) <= PRINTABLE and field == field.strip() for row in rows for field in row)
    assert len({tuple(row) for row in rows}) == len(rows) > 100


def test_no_sentence_stands_in_a_data_set(splits):
    folder = paths.from_environment("DGM_DATA")
    files = sorted(f for name in TEXT_DATA if folder for f in (folder / name).glob("*.gz"))
    if not files:
        pytest.skip("DGM_DATA names no folder with sentences")
    ours = {normalised(s) for items in splits.values() for i in items for s in i.sentences}
    ours |= {normalised(s) for name in OTHERS for row in by_hand(name) for s in row if len(s) > 1}
    for file in files:
        with gzip.open(file) as stream:
            fields = stream.read().decode("latin-1").replace("\t", "\n").split("\n")
        assert not ours & {normalised(field) for field in fields if field}, file


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (LINE.replace("\tA bed.", ""), "7 fields"),
        (LINE.replace("A bed.", "A bed. "), "outer spaces"),
        (LINE.replace("A bed.", "good bed."), "five distinct"),
        (LINE.replace("plain", "fixed"), "equal sentences"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, message):
    with pytest.raises(ValueError, match=f"line 2: .*{message}"):
        graded_sentences.read(write(tmp_path / "bad.tsv", line))


def test_other_files_and_splits_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no split 'validation'"):
        graded_sentences.load("validation")
    (tmp_path / "other.tsv").write_text("a\tb\n")
    with pytest.raises(ValueError, match="first line"):
        graded_sentences.read(tmp_path / "other.tsv")
