"""What somebody types, cut for models that read one sentence at a time."""

from collections.abc import Sequence

_ENDS = {".", "!", "?"}
_CLOSING = _ENDS | {")", "''", "'"}
_PAUSES = {",", ";", ":", "--"}


def split_sentences(words: Sequence[str], most: int) -> list[list[str]]:
    """Words cut behind each sentence; one of more than `most` also behind its pauses, or there.

    Raises:
        ValueError: no word.
    """
    if not words:
        raise ValueError("the sentence has no word: want at least one that can be seen")
    sentences, ended = [[]], False
    for word in words:
        if ended and word not in _CLOSING:
            sentences.append([])
            ended = False
        sentences[-1].append(word)
        ended = ended or word in _ENDS
    pieces = []
    for sentence in sentences:
        while len(sentence) > most:
            pauses = [i for i, word in enumerate(sentence[:most], 1) if word in _PAUSES]
            cut = pauses[-1] if pauses else most
            pieces.append(sentence[:cut])
            sentence = sentence[cut:]
        pieces.append(sentence)
    return pieces
