"""Beam search over token sequences, many sentences at once.

A hypothesis is a sequence of tokens with score log p = sum_t log p(x_t | x_<t). At each step the
best `width` extensions of a sentence's hypotheses are kept; one that has reached `end` stays as it
is and competes on. Width 1 is greedy decoding; a width as large as the number of sequences is
exhaustive.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

State = TypeVar("State", bound=tuple)
PAD, START, END = 0, 1, 2  # token ids
ROUNDING = 0.01  # log-probabilities in half precision may exceed 0


class Beams(NamedTuple):
    """The hypotheses of n sentences, best first."""

    tokens: Tensor  # (n, width, T) without start; end where it was reached, then pad
    # (n, width) nats, the end's included; -inf, and tokens all pad, where there are fewer sequences
    log_prob: Tensor
    finished: Tensor  # (n, width) bool: reached end within max_steps


@torch.no_grad()
def beam_search(
    step: Callable[[Tensor, State], tuple[Tensor, State]],
    state: State,
    n: int,
    *,
    width: int = 5,
    max_steps: int = 20,
    forbidden: Sequence[int] = (0, 1),
) -> Beams:
    """The most probable sequences that beam search finds for each of n sentences.

    Args:
        step: tokens (R,), state of R rows -> log-probabilities (R, V), state of R rows. Row
            b * width + k belongs to hypothesis k of sentence b.
        state: of n rows, before the start token; a tuple or NamedTuple of tensors, rows first.
        n: number of sentences.
        width: hypotheses of a sentence.
        max_steps: most tokens of a hypothesis, with the end; it has as many if it finds no end.
        forbidden: ids never produced.

    Raises:
        ValueError: a size is below 1, the end is forbidden, a state tensor has not n rows, or step
            returns NaN or more than 0 for a hypothesis that still counts.
    """
    if min(n, width, max_steps) < 1 or END in forbidden or any(len(x) != n for x in state):
        raise ValueError(
            f"n={n}, width={width}, max_steps={max_steps}, forbidden {forbidden}, a state of "
            f"{[len(x) for x in state]} rows: want 1 or more of each, the end token {END} not "
            f"forbidden, and {n} rows"
        )
    device = state[0].device
    sentence = torch.arange(n, device=device)[:, None]
    rows = sentence.expand(n, width)
    last = torch.full((n, width), START, device=device)
    banned = torch.tensor(list(forbidden), dtype=torch.int64, device=device)
    stay = torch.full((width + len(banned),), -torch.inf, device=device)
    stay[0] = 0
    tokens = last.new_empty(n, width, 0)
    finished = torch.zeros(n, width, dtype=torch.bool, device=device)
    # All start equal: only the first may be extended in the first step.
    score = torch.full((n, width), -torch.inf, device=device)
    score[:, 0] = 0
    for t in range(max_steps):
        log_probs, state = step(last.flatten(), _take(state, rows.flatten()))
        # The best of each row are enough, with room for those that are forbidden.
        count = min(log_probs.shape[-1], width + len(banned))
        gain, words = (x.view(n, width, count) for x in log_probs.topk(count))
        # topk puts NaN first.
        wrong = ~(gain[..., 0] < ROUNDING) & ~finished & (score > -torch.inf)
        if wrong.any():
            rows = wrong.any(1).nonzero().flatten().tolist()[:5]
            raise ValueError(
                f"step {t} returned log-probabilities that are NaN or above 0 for sentences "
                f"{rows}: logits go through log_softmax first"
            )
        gain = gain.masked_fill(torch.isin(words, banned), -torch.inf)
        # A finished hypothesis has one extension: a pad that costs nothing.
        gain = torch.where(finished[..., None], stay[:count].to(gain), gain)
        words = words.masked_fill(finished[..., None], PAD)
        score, pick = (score[..., None] + gain).flatten(1).topk(width)
        parent, last = pick // count, words.flatten(1).gather(1, pick)
        rows = sentence * width + parent
        tokens = torch.cat([tokens[sentence, parent], last[..., None]], -1)
        finished = finished[sentence, parent] | (last == END)
        if (finished | (score == -torch.inf)).all():
            break
    tokens = tokens.masked_fill((score == -torch.inf)[..., None], PAD)
    finished &= score > -torch.inf
    order = score.argsort(dim=1, descending=True, stable=True)
    return Beams(tokens[sentence, order], score[sentence, order], finished[sentence, order])


def _take(state: State, rows: Tensor) -> State:
    """The given rows of every tensor of a tuple or NamedTuple."""
    taken = [x[rows] for x in state]
    return type(state)(*taken) if hasattr(state, "_fields") else type(state)(taken)
