"""A text's rewrites along a row of vertices: the attribute gets stronger from one to the next.

Candidates written for one vertex may read as more than those for the next. So each sentence's are
chosen together: of all paths of one candidate a vertex along which the reader's value never falls,
the one with the largest sum of scores of equation (1) in `dgm.steering`. A vertex may take a
candidate of another on its side of the middle, or the middle those beside it, at a charge.
"""

import math
from collections.abc import Sequence

import torch

from dgm import steering
from dgm.steering import Candidate, Rewrite, RewritingModel, Scores

CHARGE = 1.0  # of equation (1), for each vertex between a candidate's own and where it stands
ABSTENTION = -99.0  # score of a sentence as it is, where a vertex has no candidate to be shown


def rewrites_by_vertex(
    model: RewritingModel, sentence: str, *, locked: Sequence[str] = ()
) -> list[Rewrite]:
    """K rewrites of a text, one a vertex, as `steering.candidates` would give them.

    Without a reader no order is asked for. ValueError for no word.
    """
    steering.checked(model, sentence, [1.0] * len(model.vertices))
    pieces = steering.pieces_of(model, sentence, locked)
    paths = sentence_paths(model, [p for p, _ in pieces], [stay for _, stay in pieces])
    known = any(steering.is_known(model.vocabulary, piece) for piece, _ in pieces)
    rows = [
        [
            (piece, [chosen] if (chosen := path[k]) else [])
            for (piece, _), path in zip(pieces, paths, strict=True)
        ]
        for k in range(len(model.vertices))
    ]
    return [steering.text_rewrites(sentence, row, known, 1)[0] for row in rows]


@torch.no_grad()
def sentence_paths(
    model: RewritingModel, sentences: Sequence[str], locked: Sequence[Sequence[str]] | None = None
) -> list[list[Candidate | None]]:
    """The path of each of N sentences in the form of the data; None: it stays as it is."""
    k = len(model.vertices)
    repeated = [s for s in sentences for _ in range(k)]
    stay = [words for words in locked or [()] * len(sentences) for _ in range(k)]
    ranked = steering.rank(model, repeated, torch.eye(k).repeat(len(sentences), 1), stay)
    return [
        _path(model, s, [[c for c in row if not c.reason] for row in ranked[i * k : (i + 1) * k]])
        for i, s in enumerate(sentences)
    ]


def _path(
    model: RewritingModel, sentence: str, rows: list[list[Candidate]]
) -> list[Candidate | None]:
    """Dynamic programming over K vertices; the best of each where no path never falls."""
    if not any(rows):
        return [None] * len(rows)
    stays = Candidate(sentence, Scores(0, 0, 0, 0, 0, 0, ABSTENTION), "")
    flat = [(g, c) for g, row in enumerate(rows) for c in row or [stays]]
    totals = torch.tensor([c.scores.total for _, c in flat], dtype=torch.float64)
    steps = torch.arange(len(rows))[:, None] - torch.tensor([g for g, _ in flat])
    side = torch.arange(len(rows)) - (len(rows) - 1) / 2
    same = side[:, None] * side[[g for g, _ in flat]] > 0
    beside = (steps == 0) | same | ((side[:, None] == 0) & (steps.abs() == 1))
    scores = (totals - CHARGE * steps.abs()).masked_fill(~beside, -math.inf)  # (K, N)
    values = torch.tensor(steering.read(model, [c.text for _, c in flat]))
    falls, best, back = values[:, None] > values, scores[0], []
    for row in scores[1:]:
        before, chosen = best[:, None].masked_fill(falls, -math.inf).max(0)
        best = row + before
        back.append(chosen)
    if best.max() == -math.inf:
        path = scores.argmax(1).tolist()
    else:
        path = [int(best.argmax())]
        for chosen in reversed(back):
            path.append(int(chosen[path[-1]]))
        path.reverse()
    return [None if flat[j][1] is stays else flat[j][1] for j in path]
