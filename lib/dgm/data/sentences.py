"""Texts cut into sentences."""

from collections.abc import Sequence

END_MARKS, PAUSE_MARKS = (".", "!", "?"), (",", ";", ":", "--")


def split_sentences(words: Sequence[str], max_words: int) -> list[list[str]]:
    """Words cut behind each sentence, a long one also behind its pauses, or where it must be."""
    if not words:
        raise ValueError("the sentence has no word: want at least one that can be seen")
    sentences, ended = [[]], False
    for word in words:
        if ended and word not in (*END_MARKS, ")", "''", "'"):
            sentences.append([])
            ended = False
        sentences[-1].append(word)
        ended = ended or word in END_MARKS
    pieces = []
    for sentence in sentences:
        while len(sentence) > max_words:
            pauses = [i for i, w in enumerate(sentence[:max_words], 1) if w in PAUSE_MARKS]
            cut = pauses[-1] if pauses else max_words
            pieces.append(sentence[:cut])
            sentence = sentence[cut:]
        pieces.append(sentence)
    return pieces
