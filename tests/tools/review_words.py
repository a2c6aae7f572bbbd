"""What the sentences of the review grammar say: their sentiment, and all the rest."""

from itertools import chain

from dgm.data import synthetic

WORDS = synthetic._WORDS
NOUNS = chain.from_iterable(WORDS["nouns"].values())
PARTS = *NOUNS, *WORDS["venues"], *WORDS["people"], *WORDS["times"]
CONTENT = set(" ".join(PARTS).split())


def sentiment_of(text):
    """1 when more words are positive than negative, 0 when fewer, -1 when as many (or none)."""
    signs = synthetic._POSITIVE_TO_NEGATIVE
    positive = [word in signs for word in text.split() if word in synthetic.OPPOSITE]
    balance = 2 * sum(positive) - len(positive)
    return -1 if balance == 0 else int(balance > 0)


def content_words(text):
    """The words that say what, who, where and when: what a change of mood should keep."""
    return [word for word in text.split() if word in CONTENT]
