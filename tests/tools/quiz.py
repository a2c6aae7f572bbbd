"""What the next-sentence quiz shows: right answers, their interval, and what they tell."""

import math


def count_right(widget) -> dict[str, float]:
    """Right answers so far of the reader ("you") and of each critic; a tie is half of one."""
    n = len(widget.questions)
    asked = [widget.questions[(widget.first + i) % n] for i in range(len(widget.answers))]
    right = {"you": 0.0} | dict.fromkeys(widget.critics, 0.0)
    for question, place in zip(asked, widget.answers, strict=True):
        answer = question["answer"]
        right["you"] += place == answer
        for name, scores in question["scores"].items():
            right[name] += 0.5 * (
                (scores[answer] > scores[1 - answer]) + (scores[answer] >= scores[1 - answer])
            )
    return right


def wilson(right: float, n: int) -> tuple[float, float]:
    """The ends of Wilson's 95 % interval of a share, for right of n answers, n at least 1."""
    z2, a = 1.959964**2, right / n
    middle = (a + z2 / (2 * n)) / (1 + z2 / n)
    reach = math.sqrt(z2 * (a * (1 - a) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return max(0.0, middle - reach), min(1.0, middle + reach)


def information_at_least(share: float) -> float:
    """log 2 - H(share), nats: what right answers at this rate tell at least."""
    return math.log(2) + sum(p * math.log(p) for p in (share, 1 - share) if p > 0)
