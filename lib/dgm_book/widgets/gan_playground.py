"""The GAN playground: two small GANs that train in the page, with and without BRE, side by side."""

from collections.abc import Mapping, Sequence

import traitlets

from .checks import one_of
from .frame import BookWidget, check_range
from .packing import check_arrays

MAX_MODES = 64
MAX_WIDTH = 32  # the page keeps a layer's signs in one 32-bit word


class GANPlayground(BookWidget):
    """Two GANs with the same first weights, noise and data, which the reader trains in the page.

    Generators 2-h-h-h-2 (ReLU, tanh), discriminators 2-h-h-h-h-1 (LeakyReLU 0.2), Adam (0.5,
    0.999), batch 128; the learning rate falls linearly to 1e-6. One discriminator is regularised by
    BRE on its second hidden layer. What the reader chooses (``target``, ``seed``, ``width``,
    ``weight``, ``margin``, ``rate``, ``decay``) comes back, and may be set.

    Args:
        targets: For each target ``name``, ``label``, ``centres`` (M, 2), at most 64, and ``sigma``,
            the standard deviation of each component; all components weigh the same. The
            generator's tanh reaches no farther than (-1, 1).
        steps: Length of a run, at least 100.
        chosen: First values of ``title``, ``target`` (a name; the first by default), ``seed`` (0 to
            9999), ``width`` (hidden units per layer, 2 to 32), ``weight`` (w of BRE, 0 to 2),
            ``margin`` (c of eta = c / sqrt(width), 0 to 3), ``rate`` (of learning, above 0) and
            ``decay`` (whether w falls linearly to 0 over the run).

    Raises:
        ValueError: For a target that lacks something, has values that are not finite or the wrong
            shape, for a name that comes twice, or for a setting out of range.
    """

    targets = traitlets.List(read_only=True).tag(sync=True)
    steps = traitlets.Int(read_only=True).tag(sync=True)
    title = traitlets.Unicode("Two GANs, one with BRE").tag(sync=True)
    target = traitlets.Unicode().tag(sync=True)
    seed = traitlets.Int(min=0, max=9999).tag(sync=True)
    width = traitlets.Int(10, min=2, max=MAX_WIDTH).tag(sync=True)
    weight = traitlets.Float(1.0).tag(sync=True)
    margin = traitlets.Float(3.0).tag(sync=True)
    rate = traitlets.Float(0.002).tag(sync=True)
    decay = traitlets.Bool(True).tag(sync=True)

    def __init__(
        self, targets: Sequence[Mapping], badge: str = "", *, steps: int = 10_000, **chosen
    ) -> None:
        checked = [_checked(target) for target in targets]
        names = [target["name"] for target in checked]
        if not checked or len(set(names)) < len(checked):
            raise ValueError(f"targets: want at least one, each name once, got {names}")
        if steps < 100:
            raise ValueError(f"steps={steps}: a run has at least 100")
        chosen = {"target": names[0], **chosen}
        super().__init__({"targets": checked, "steps": int(steps)}, badge=badge, **chosen)

    _valid_target = one_of("target", lambda self: [target["name"] for target in self.targets])

    @traitlets.validate("weight", "margin")
    def _check_range(self, proposal) -> float:
        return check_range(proposal, 0, 2 if proposal["trait"].name == "weight" else 3)

    @traitlets.validate("rate")
    def _check_rate(self, proposal) -> float:
        if not 0 < proposal["value"] < float("inf"):
            raise ValueError(f"rate={proposal['value']}: want a finite number above 0")
        return proposal["value"]


def _checked(target: Mapping) -> dict:
    owner = f"target {target.get('name')!r}"
    shapes = {"name": (), "label": (), "centres": "M 2", "sigma": ()}
    if missing := sorted(shapes.keys() - target.keys()):
        raise ValueError(f"{owner} lacks {missing}")
    arrays = check_arrays(owner, target, {"centres": "M 2", "sigma": ()}, dtype=float)
    if len(arrays["centres"]) > MAX_MODES or not arrays["sigma"] > 0:
        raise ValueError(f"{owner}: want 1 to {MAX_MODES} centres, and sigma above 0")
    return {
        "name": str(target["name"]),
        "label": str(target["label"]),
        "centres": arrays["centres"].round(5).tolist(),
        "sigma": float(arrays["sigma"]),
    }
