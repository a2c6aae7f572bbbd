"""The storyteller: two language models write on from one opening, with the same random numbers."""

from collections.abc import Mapping, Sequence

import numpy as np
import traitlets
from ipywidgets import widget_serialization

from .checks import in_range
from .frame import BookWidget
from .language_weights import LanguageWeights
from .packing import check_arrays, check_ascending

MAX_CHARACTERS, MAX_THEMES = 200, 8  # of an opening, and of the data


class Storyteller(BookWidget):
    """Two models of a page write on from an opening, sentence by sentence, each with its topic.

    A story is a function of ``opening``, ``temperature`` and ``seed``, which follow the reader and
    may be set; "Write on" takes the next seed. A word is drawn with a number that belongs to its
    place, the same for all models. ``written`` is what the page made: for each model its lines, the
    first of which starts with the opening.

    Args:
        weights: The page's models, shared with its other widgets; one or two are shown, the first
            as the baseline.
        themes: For each topic its words; a sentence is about the topic most of its theme words
            belong to.
        openings: Starts to pick from, words apart by spaces; the start of a text can always be
            picked.
        curves: ``distances`` (D,), ``exact`` (D,): mutual information of two sentences of the data,
            nats; ``models``: for each of the weights' models ``mean``, ``low`` and ``high`` (D,),
            that of what it writes at temperature 1; ``stay``: how often neighbours of the data
            share their topic.
        opening: Where the reader starts; None takes the first of the openings.
        temperature: 0.2 to 2, of the slider.
        n_sentences: Of a story, 2 to 40.

    Raises:
        ValueError: For more than two models or eight themes, a word of two themes, no opening or
            one that is too long, curves that do not fit, or options out of range.
    """

    weights = traitlets.Instance(LanguageWeights).tag(sync=True, **widget_serialization)
    themes = traitlets.List(read_only=True).tag(sync=True)
    openings = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    curves = traitlets.Dict(read_only=True).tag(sync=True)
    n_sentences = traitlets.Int(read_only=True).tag(sync=True)
    opening = traitlets.Unicode().tag(sync=True)
    temperature = traitlets.Float(1.0).tag(sync=True)
    seed = traitlets.Int(0).tag(sync=True)
    written = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        weights: LanguageWeights,
        themes: Mapping[str, Sequence[str]],
        openings: Sequence[str],
        curves: Mapping,
        badge: str = "",
        *,
        opening: str | None = None,
        temperature: float = 1.0,
        n_sentences: int = 12,
        title: str = "Does the story stay with its topic?",
    ) -> None:
        if len(weights.names) > 2:
            raise ValueError(f"{len(weights.names)} models: want one or two side by side")
        if not 2 <= n_sentences <= 40:
            raise ValueError(f"n_sentences={n_sentences}: want 2 to 40")
        if isinstance(openings, str) or not openings or not all(o.split() for o in openings):
            raise ValueError("openings: want a list of texts, at least one, none empty")
        fixed = {
            "themes": _checked_themes(themes),
            "openings": [_short(text) for text in openings],
            "curves": _checked_curves(curves, weights.names),
            "n_sentences": n_sentences,
        }
        opening = openings[0] if opening is None else opening
        traits = {"opening": opening, "temperature": temperature, "title": title, "badge": badge}
        super().__init__(fixed, weights=weights, **traits)

    @traitlets.validate("opening")
    def _validate_opening(self, proposal) -> str:
        return _short(proposal["value"])

    _valid_temperature = in_range("temperature", 0.2, 2.0)
    _valid_seed = in_range("seed", 0, 2**20 - 1)


def _short(opening: str) -> str:
    if len(opening) > MAX_CHARACTERS:
        raise ValueError(f"opening: want at most {MAX_CHARACTERS} characters, got {len(opening)}")
    return opening


def _checked_themes(themes: Mapping[str, Sequence[str]]) -> list[list]:
    checked = [[str(name), list(words)] for name, words in themes.items()]
    if not 1 <= len(checked) <= MAX_THEMES:
        raise ValueError(f"{len(checked)} themes: want 1 to {MAX_THEMES}")
    words = [word for _, theme in checked for word in theme]
    if len(set(words)) < len(words) or not all(theme for _, theme in checked):
        raise ValueError("themes: want at least one word each, and no word twice")
    return checked


def _checked_curves(curves: Mapping, names: list[str]) -> dict:
    if lacks := sorted({"distances", "exact", "models", "stay"} - set(curves)):
        raise ValueError(f"curves lack {lacks}")
    if set(curves["models"]) != set(names):
        raise ValueError(f"curves of {list(curves['models'])}: want those of the models {names}")
    distances = check_ascending("distances", curves["distances"])
    if distances[0] == 0:
        raise ValueError(f"distances {distances}: want them above 0")
    sizes, models = {"D": len(distances)}, {}

    def check(owner: str, arrays: Mapping, *keys: str) -> dict[str, list[float]]:
        checked = check_arrays(owner, arrays, dict.fromkeys(keys, "D"), sizes, np.float64)
        return {key: [float(f"{v:.6g}") for v in array] for key, array in checked.items()}

    for name in names:
        models[name] = check(f"curve of {name!r}", curves["models"][name], "mean", "low", "high")
        if np.greater(models[name]["low"], models[name]["high"]).any():
            raise ValueError(f"the curve of {name!r}: low should not lie above high")
    stay = float(curves["stay"])
    if not 0 <= stay <= 1:
        raise ValueError(f"stay={stay}: want a share from 0 to 1")
    exact = check("curves", curves, "exact")
    return {"distances": distances.tolist(), **exact, "models": models, "stay": stay}
