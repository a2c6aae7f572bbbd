"""Captions in a style, by a clause that a person wrote for a caption like it.

A bank has captions with a clause of either style. For a new caption x and a captioned clause (s, c)

    score = .6 |x & s| / |s| + .4 |x & s| / |x| - .15 (times c was used) - .12 (strange)   (1)

where the sets are of stems and topics, each counts by how rare it is in the bank, and strange are
topics of c, colours and who is seen in s, that x lacks. A clause fits if it was written for as many
of the same kind (adults, children, dogs ...), and what it says of others and of the scene is in x
too; one that names love never goes to where a child is. Clauses for any scene score `ANY_SCENE`,
and no other scores less. The caption keeps all of its words: the clause stands at its end.
"""

import functools
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from dgm.data.sentences import END_MARKS, split_sentences

USED, STRANGE, LAST_WORD, SLIGHT = 0.15, 0.12, 0.15, 0.15
ANY_SCENE = 0.46  # what clauses for any scene score, and others at least
LONGEST = 2000  # words of a sentence
LONGEST_CLAUSE = 20
MIXED = 0.3  # styles whose weights differ by less take turns
PRONOUNS = {
    "m": {"he", "him", "his", "himself"},
    "f": {"she", "her", "hers", "herself"},
    "n": {"it", "its", "itself"},
    "p": {"they", "them", "their", "theirs", "themselves"},
}
OF_LAST_WORD = {"who", "that", "whose", "which", "where", "it", "he", "she", "they", "of", "made"}


class Scene(NamedTuple):
    """Who is seen, and what."""

    kind: str  # adult, child, dog, animal or thing
    gender: str  # m, f, n or none
    plural: bool
    finite: bool | None  # whether it has "is" or the like; None where that is not clear
    number: str
    noun: str
    others: frozenset[str]  # genders of all that are seen; "p" where several are
    child: bool
    features: dict[str, float]  # stems and topics, with what they count
    words: frozenset[str]  # stems
    last: str  # stem of the last word


class Clause(NamedTuple):
    """A clause of style 1 or 2 with the scene that it was written for, none if for any."""

    text: tuple[str, ...]
    style: int
    scene: Scene
    any_scene: bool
    words: frozenset[str]
    stems: frozenset[str]  # of the words that carry content
    topics: frozenset[str]


def stem(word: str) -> str:
    """A word without the endings of verbs and plurals."""
    for ending, least in (("ing", 6), ("ies", 5), ("es", 5), ("ed", 5), ("s", 4), ("e", 4)):
        if len(word) >= least and word.endswith(ending) and not word.endswith("ss"):
            word = word[: -len(ending)]
            break
    doubled = len(word) > 3 and word[-1] == word[-2] and word[-1] not in "lsfe"
    return (word[:-1] if doubled else word).removesuffix("e")


class ClauseBank:
    """Rewrites captions at weights on plain, romantic and humorous.

    `bank` has "rows" and "any": lists of (caption, romantic clause, humorous clause), either clause
    empty where there is none, and tables of words, as `captions.yaml` of chapter 4 has them.
    """

    vertices = ("plain", "romantic", "humorous")

    def __init__(self, bank: dict[str, Any]) -> None:
        self.parts = bank
        self.tables = {k: frozenset(v.split()) for k, v in bank.items() if isinstance(v, str)}
        self.plurals: dict[str, str] = bank["plurals"]
        self.nouns = {
            noun: (kind, gender)
            for kind, genders in bank["nouns"].items()
            for gender, words in genders.items()
            for noun in words.split()
        }
        self.topics: dict[str, set[str]] = {}
        for topic, words in bank["topics"].items():
            for word in words.split():
                self.topics.setdefault(stem(word), set()).add(f"#{topic}")
        self.slight = {stem(word) for word in self.tables["slight"]}
        self.colours = {stem(word) for word in self.tables["colours"]}
        self.rarity: dict[str, float] = {}
        self.most = 1.0
        captions = [row[0].split() for row in bank["rows"]]
        counts = Counter(f for words in captions for f in self._features(words))
        self.most = math.log(len(captions) + 1)
        self.rarity = {f: math.log((len(captions) + 1) / n) for f, n in counts.items()}
        self.clauses = [
            self._clause(clauses[k].split(), k + 1, scene, part == "any")
            for part in ("rows", "any")
            for caption, *clauses in bank[part]
            for scene in (self.scene(caption.split()),)
            for k in (0, 1)
            if clauses[k]
        ]
        self.groups: dict[tuple[int, str, bool], list[Clause]] = {}
        for clause in self.clauses:
            group = (clause.style, clause.scene.kind, clause.scene.plural)
            self.groups.setdefault(group, []).append(clause)
        self.for_any_scene = {" ".join(c.text) for c in self.clauses if c.any_scene}
        self.known = {" ".join(clause.text) for clause in self.clauses}

    def _clause(self, text: list[str], style: int, scene: Scene, any_scene: bool) -> Clause:
        words = frozenset(text)
        stems = frozenset(stem(word) for word in words - self.tables["stop"])
        topics = frozenset(self._topics(text))
        return Clause(tuple(text), style, scene, any_scene, words, stems, topics)

    def written(
        self, words: Sequence[str], weights: Sequence[float], count: int, used: Counter[str]
    ) -> list[tuple[list[str], float]]:
        """At most `count` rewrites of a text's words at weights (3,), best first, and scores.

        None where there is no word. `used` counts the clauses of the first, here and before.
        """
        bare = [self.without_clause(piece) for piece in split_sentences(words, LONGEST)]
        if not any(word.isalpha() for piece in bare for word in piece):
            return []
        if weights[0] >= max(weights[1:]):
            return [([word for piece in bare for word in piece], 0.0)]
        styles = [1, 2] if weights[1] >= weights[2] else [2, 1]
        mixed = abs(weights[1] - weights[2]) < MIXED * sum(weights)
        ranked = [
            [self.ranked(piece, style, used) for style in styles[: 1 + mixed]] for piece in bare
        ]
        result = []
        for k in range(count):
            style, place = (k % 2, k // 2) if mixed else (0, k)
            chosen = [lists[style][place : place + 1] for lists in ranked]
            scores = [score for row in chosen for score, _ in row]
            if scores:
                texts = [row[0][1].text if row else () for row in chosen]
                used.update(" ".join(text) for text in texts if k == 0)
                pieces = [_ended(*pair) for pair in zip(bare, texts, strict=True)]
                rewrite = [word for piece in pieces for word in piece]
                result.append((rewrite, sum(scores) / len(scores)))
        return result

    def without_clause(self, words: Sequence[str]) -> list[str]:
        """A caption's words without a clause of the bank at its end."""
        mark = len(words) - (len(words) > 0 and words[-1] in END_MARKS)
        for first in range(max(2, mark - LONGEST_CLAUSE), mark - 1):
            if " ".join(words[first:mark]) in self.known:
                return [*words[:first], *words[mark:]]
        return list(words)

    def ranked(
        self, words: Sequence[str], style: int, used: Counter[str]
    ) -> list[tuple[float, Clause]]:
        """Clauses that fit a caption by equation (1), best first; few begin alike."""
        scene = self.scene(words)
        own = sum(scene.features.values())
        rows = [
            (self._score(clause, scene, own) - USED * used[" ".join(clause.text)], clause)
            for clause in self.groups.get((style, scene.kind, scene.plural), [])
            if self.fits(clause, scene)
        ]
        rows = [row for row in rows if row[0] > -math.inf]
        rows.sort(key=lambda row: -row[0])
        starts: Counter[tuple[str, ...]] = Counter()
        result = []
        for score, clause in rows[:40]:
            starts[clause.text[:2]] += 1
            result.append((score - 0.05 * (starts[clause.text[:2]] - 1), clause))
        return sorted(result, key=lambda row: -row[0])

    def _score(self, clause: Clause, scene: Scene, own: float) -> float:
        if clause.any_scene:
            # Differs from caption to caption, so that texts do not all get the same.
            turn = sum(map(ord, "".join(sorted(scene.words)) + "".join(clause.text))) % 97
            return ANY_SCENE + 0.06 * turn / 97
        old, features = clause.scene, clause.scene.features
        alike = sum(value for f, value in features.items() if f in scene.features)
        strange = len(clause.topics - scene.features.keys())
        strange += len((old.words - scene.words) & self.colours)
        strange += old.noun not in self.tables["plain"] and stem(old.noun) not in scene.words
        theirs = max(sum(features.values()), 1e-9)
        last = clause.scene.last != scene.last and clause.text[0] != ","
        score = 0.6 * alike / max(theirs, self.most) + 0.4 * alike / max(own, self.most)
        score -= STRANGE * strange + LAST_WORD * last
        return score if alike >= theirs / 2 and score >= ANY_SCENE else -math.inf

    def fits(self, clause: Clause, scene: Scene) -> bool:
        """Whether a clause may be said of a scene."""
        old, words = clause.scene, clause.words
        if (old.kind, old.plural) != (scene.kind, scene.plural) or words & self.tables["crude"]:
            return False
        if (scene.child or scene.kind == "child") and words & self.tables["love"]:
            return False
        spoken = {group for group, own in PRONOUNS.items() if own & words}
        gendered = words & self.tables["gendered"] or spoken & {"m", "f"}
        if old.gender != scene.gender and gendered:
            return False
        foreign = spoken - {"p" if old.plural else old.gender}
        first, *rest = clause.text[1:] if clause.text[0] == "," else clause.text
        if first in ("and", "but") and scene.finite is not (rest[0][-3:] != "ing"):
            return False
        if clause.any_scene:
            if {"m", "f"} <= old.others and not {"m", "f"} <= scene.others:
                return False
            return not (scene.child and (words & self.tables["romance"] or foreign & {"m", "f"}))
        if foreign & {"m", "f"} & old.others - scene.others:
            return False
        if old.kind == "dog" and foreign & {"m", "f"} and not foreign <= scene.others:
            return False
        of_last = first in OF_LAST_WORD or clause.text[-1] in ("one", "ones")
        if (foreign & {"n", "p"} or of_last) and old.last != scene.last:
            return False
        if words & self.tables["several"] and old.number != scene.number:
            return False
        if old.kind == "animal" and old.noun != scene.noun and words & self.tables["species"]:
            return False
        if scene.child and not old.child and clause.style == 1:
            return False
        taken = clause.topics & old.features.keys()
        return clause.stems & old.words <= scene.words and taken <= scene.features.keys()

    def scene(self, words: Sequence[str]) -> Scene:
        """What a caption says of who is seen, and of what."""
        people = [(i, *self._noun(words, i)) for i in range(len(words))]
        people = [row for row in people if row[1]]
        at = {i for i, *_ in people}
        heads = [r for r in people if r[0] + 1 not in at and words[r[0] + 1 : r[0] + 2] != ["of"]]
        first = next((r for r in heads if r[0] < 5 or self.nouns[r[1]][0] != "thing"), None)
        finite = True if {"is", "are"} & set(words) else None
        before = words[: first[0] if first else 0]
        young = any(w in ("young", "little", "child", "baby", "girl", "boy") for w in before)
        kind, gender, plural, noun = "thing", "n", False, ""
        if first:
            i, noun, plural = first
            kind, gender = self.nouns[noun]
            follows = words[i + 1] if i + 1 < len(words) else "."
            if finite is None and follows.endswith("ing"):
                finite = False
            elif finite is None and follows[0].isalpha() and follows not in self.tables["stop"]:
                finite = None if follows.endswith("ed") else True
            after = next((r for r in people if i + 1 < r[0] <= i + 5), None)
            if words[i + 1 : i + 2] == ["and"] and after:
                plural, gender, other = True, "", self.nouns[after[1]][0]
                kind = min(kind, other, key=("adult", "child", "thing", "animal", "dog").index)
            if young and kind == "adult" and noun not in ("man", "woman", "person", "lady"):
                kind = "child"
        genders = {self.nouns[noun][1] for _, noun, _ in people}
        several = plural or any(row[2] for row in people)
        number = next((w for w in words[:3] if w in self.tables["numbers"]), "")
        content = [w for w in words if w not in self.tables["stop"] and w[0].isalnum()]
        return Scene(
            *(kind, gender, plural, finite, number, noun),
            frozenset(genders | ({"p"} if several else set())),
            any(self.nouns[noun][0] == "child" for _, noun, _ in people) or kind == "child",
            self._features(words),
            frozenset(stem(w) for w in content),
            stem(content[-1]) if content else "",
        )

    def _noun(self, words: Sequence[str], i: int) -> tuple[str, bool]:
        """The singular of the noun of who is seen at a place, or none, and whether it is plural."""
        for word in (" ".join(words[i : i + 2]).replace(" ", "_"), words[i]):
            single = self.plurals.get(word, word)
            several = single != word or word in self.tables["collective"]
            if single in self.nouns:
                return single, several
            for ending in ("s", "es"):
                if word.endswith(ending) and word[: -len(ending)] in self.nouns:
                    return word[: -len(ending)], True
        return "", False

    def _features(self, words: Sequence[str]) -> dict[str, float]:
        stop = self.tables["stop"]
        stems = {stem(w) for w in words if w not in stop and w[0].isalnum()}
        values = dict.fromkeys(sorted(stems | self._topics(words)), 0.0)
        for f in values:
            size = 0.7 if f[0] == "#" else SLIGHT if f in self.slight else 1.0
            values[f] = size * self.rarity.get(f, self.most)
        return values

    def _topics(self, words: Sequence[str]) -> set[str]:
        topics = [self.topics.get(stem(word), set()) for word in words]
        return functools.reduce(set.union, topics, set())


def _ended(words: Sequence[str], clause: Sequence[str]) -> list[str]:
    """A caption with a clause before its last mark."""
    mark = len(words) - (len(words) > 0 and words[-1] in END_MARKS)
    return [*words[:mark], *clause, *words[mark:]]
