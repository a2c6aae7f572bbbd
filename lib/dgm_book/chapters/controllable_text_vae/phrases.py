"""Phrases that people changed when they turned a sentence, to turn further sentences with.

As `opposites.turn`, for what a rewriter reads: the result is noisy, so it is never a target.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

LONGEST, FREQUENT, ALONE = 5, 150, 3  # words of a phrase; most frequent words; times seen
FILLERS = frozenset(("really", "so", "very", "absolutely", "happily", "always", "totally",
                     "completely", "just", "definitely", "truly", "extremely"))  # fmt: skip


class Change(NamedTuple):
    """What a phrase became, and the words beside it ("" at an end)."""

    words: tuple[str, ...]
    before: str
    after: str


class Phrases:
    """Changed phrases by the direction, 0 towards negative and 1 towards positive.

    Args:
        pairs: a negative and a positive sentence each, alike in all else.
        texts: from which the most frequent words are counted; a phrase of these alone is changed
            only between the same two words.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]], texts: Sequence[str]) -> None:
        counts = Counter(word for sentence in texts for word in sentence.split())
        self.frequent = {word for word, _ in counts.most_common(FREQUENT)}
        self.changes: tuple[dict[tuple[str, ...], list[Change]], ...] = (
            defaultdict(list),
            defaultdict(list),
        )
        for pair in pairs:
            for target in (0, 1):
                for phrase, change in changed(pair[1 - target].split(), pair[target].split()):
                    self.changes[target][phrase].append(change)

    def turn(self, sentence: str, target: int, rng: random.Random) -> str:
        """The sentence with each longest known phrase changed; maybe as it was, or half-turned."""
        words, result, i = ["", *sentence.split(), ""], [], 1
        while i < len(words) - 1:
            for n in range(min(LONGEST, len(words) - 1 - i), 0, -1):
                if choices := self._choices(words, i, n, target):
                    result += rng.choice(choices)
                    i += n
                    break
            else:
                result.append(words[i])
                i += 1
        return " ".join(result)

    def _choices(self, words: list[str], i: int, n: int, target: int) -> list[tuple[str, ...]]:
        phrase = tuple(words[i : i + n])
        rows = self.changes[target].get(phrase, ())
        plain = self.frequent.issuperset(phrase)
        if not rows or (plain and n == 1):
            return []
        beside = [(r.before == words[i - 1], r.after == words[i + n]) for r in rows]
        if plain:
            return [r.words for r, fits in zip(rows, beside, strict=True) if all(fits)]
        fitting = [r.words for r, fits in zip(rows, beside, strict=True) if any(fits)]
        return fitting or ([r.words for r in rows] if n > 1 or len(rows) > ALONE else [])


def changed(source: list[str], target: list[str]) -> list[tuple[tuple[str, ...], Change]]:
    """Short phrases of the source with what they are in the target, about as long."""
    result = []
    for kind, i, j, k, m in SequenceMatcher(None, source, target, autojunk=False).get_opcodes():
        if kind == "equal":
            continue
        if (i == j or k == m) and i and k:  # nothing on one side: with the word before
            i, k = i - 1, k - 1
        short = 0 < j - i <= LONGEST and 0 < m - k <= LONGEST and abs((j - i) - (m - k)) <= 1
        if short and not FILLERS.intersection(target[k:m]):
            before, after = source[i - 1] if i else "", source[j] if j < len(source) else ""
            result.append((tuple(source[i:j]), Change(tuple(target[k:m]), before, after)))
    return result
