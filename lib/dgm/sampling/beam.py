"""Beam search over token sequences, many sentences at once; width 1 is greedy decoding.

A hypothesis is a sequence of tokens with score log p = sum_t log p(x_t | x_<t). The best `width`
extensions go on; one that has reached `end` stays as it is and competes.
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

    step takes tokens (R,) and a state of R rows, a tuple or NamedTuple of tensors, rows first, and
    returns log-probabilities (R, V) and the next state; row b * width + k belongs to hypothesis k
    of sentence b. The given state is of n rows, before the start token. A hypothesis without an end
    has max_steps tokens, and `forbidden` ids are never produced. ValueError for a size below 1, a
    forbidden end, a state of other rows, or a step that returns NaN or more than 0 where it counts.
    """
    if min(n, width, max_steps) < 1 or END in forbidden or any(len(x) != n for x in state):
        given = f"{n=}, {width=}, {max_steps=}, {forbidden=}, state of {[len(x) for x in state]}"
        raise ValueError(f"{given} rows: want 1 or more, token {END} not forbidden, {n} rows")
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
        taken = [x[rows.flatten()] for x in state]
        state = type(state)(*taken) if hasattr(state, "_fields") else type(state)(taken)
        log_probs, state = step(last.flatten(), state)
        # The best of each row are enough, with room for those that are forbidden.
        count = min(log_probs.shape[-1], width + len(banned))
        gain, words = (x.view(n, width, count) for x in log_probs.topk(count))
        # topk puts NaN first.
        wrong = ~(gain[..., 0] < ROUNDING) & ~finished & (score > -torch.inf)
        if wrong.any():
            rows = wrong.any(1).nonzero().flatten().tolist()[:5]
            wrong = f"step {t} returned log-probabilities that are NaN or above 0 for sentences"
            raise ValueError(f"{wrong} {rows}: logits go through log_softmax first")
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
