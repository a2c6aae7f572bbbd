"""What `dgm.steering` computes, for the tests of the page's rewriter."""

import base64
import csv
import functools
import math

import torch

from dgm import published, slider, steering
from dgm.data import sentences, text
from dgm.data.text import Vocabulary
from dgm.nets.copying import END, START, CopyingTransformer, Sizes
from dgm.nets.graded_reader import GradedReader
from dgm.sampling.beam import beam_search
from dgm_book.chapters.controllable_text_vae.rewriter_results import narrow_tensors, plain_values
from dgm_book.widgets.rewriter_weights import RewriterWeights

SIZES = Sizes(16, 2, 2, 2, 24, 5, 48)
READER = Sizes(width=12, heads=3, encoder_layers=2, inner=20)
TEXT = """the food was good bad great awful service and i is it not very n't but we loved hated
cold hot 's slow friendly rude . , ! ? '' `` ( ) place staff my never always nice best worst a
they to us were here there again ... love time"""
WORDS = TEXT.split()
TYPED = (
    "The food wasn’t good, but Maria's staff LOVED us.",
    "the service was slow",
    "WE HATED IT! THE STAFF WAS RUDE.",
    "“Great” place (really) — I'd go again in 2020, for $5.50…",
    "It was bad.\n\nThe food was cold, and we never go there again! 🍕👨‍👩‍👧 Is it good?",
    "good bad qwe rty uio pas dfg hjk zxc vbn nmm was nice in Paris",
    "e\u0301clair is ½ cold, ﬁne and “good”",
    "עברית was good",
    " ".join(["the food was good and"] * 14),
)
AT = ((0, 0, 0, 0, 1.0), (1.0, 0, 0, 0, 0), (0, 0, 0.5, 0.5, 0), (0, 0, 1.0, 0, 0))
GOLDEN, ALONG = 100, 12


def published_form(model):
    """What `steering.from_published` takes, int8."""
    return plain_values(model), narrow_tensors(model)


@functools.cache
def small_model(reader=True):
    """A random model whose candidates differ, as int8 leaves it; its published form."""
    with torch.random.fork_rng():
        torch.manual_seed(4)
        vocabulary = Vocabulary(WORDS, steering.SLOTS)
        sizes = len(vocabulary), vocabulary.first_word
        rewriter = CopyingTransformer(*sizes, SIZES, dropout=0.0)
        judge = GradedReader(len(vocabulary), READER) if reader else None
        model = steering.RewritingModel(vocabulary, "01234", rewriter, judge, least_nats=-9.0)
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and "norm" not in name:
                parameter.data.mul_(6 if parameter.shape[0] > 200 or "embed" in name else 2)
        rewriter.bias.data[END] = 2.0
        rewriter.shift.data.normal_()
        model.content[vocabulary.first_word :: 3] = False
    form = published_form(model)
    return steering.from_published(*form), form


def packed(form):
    weights = RewriterWeights(*form)
    return {"header": weights.header, "data": base64.b64encode(weights.data).decode()}


def shown(rewrite):
    """A rewrite with its spans as texts, since Python and JavaScript count signs differently."""
    row = {"text": rewrite.text, "reason": rewrite.reason, "scores": list(rewrite.scores)}
    return row | {"changed": [rewrite.text[a:b] for a, b in rewrite.changed]}


def rewritten(model, typed, weights, **options):
    rows = steering.candidates(model, typed, weights, **options)
    removed = [[typed[a:b] for a, b in row.removed] for row in rows]
    rewrites = [shown(row) | {"removed": r} for row, r in zip(rows, removed, strict=True)]
    return {"typed": typed, "weights": weights, **options, "rewrites": rewrites}


def along(model, typed, **options):
    """The rewrite at each vertex, as `dgm.slider` chooses them."""
    rows = slider.rewrites_by_vertex(model, typed, **options)
    return {"typed": typed, **options, "along": [row.text for row in rows]}


def beams_of(rewriter, memory, width, steps):
    start = rewriter.start(memory)
    beams = beam_search(rewriter.step, start, 1, width=width, max_steps=steps)
    rows = zip(beams.tokens[0], beams.log_prob[0], beams.finished[0], strict=True)
    written = [
        {"tokens": [t for t in row.tolist() if t], "nats": nats, "finished": bool(over)}
        for row, nats, over in rows
        if math.isfinite(nats)
    ]
    return {"width": width, "steps": steps, "written": written}


@torch.no_grad()
def decoded(model, sentence, weights):
    """What the parts of a rewriter say of one sentence."""
    rewriter, grade = model.rewriter, torch.tensor([weights])
    source = model.vocabulary.encode([sentence])
    memory = rewriter.encode(source.tokens, grade)
    case = {"source": source.tokens[0], "weights": weights, "pointer": memory.pointer[0]}
    case |= {"keys": memory.keys[0], "values": memory.values[0]}
    start, first = rewriter.start(memory), model.vocabulary.first_word
    tokens, state, case["steps"] = (
        [START, first + 2, int(source.tokens[0, 1]), first + 5],
        start,
        [],
    )
    for token in tokens:
        log_p, state = rewriter.step(torch.tensor([token]), state)
        case["steps"].append({"token": token, "log_p": log_p[0]})
    target = torch.tensor([[*tokens, END]])
    case |= {"target": target[0], "nats": rewriter.log_likelihood(source.tokens, grade, target)}
    sizes = ((1, 12), (4, 20), (10, 30))
    case["beams"] = [beams_of(rewriter, memory, width, steps) for width, steps in sizes]
    if model.reader:
        case["value"] = model.reader(source.tokens)
    return case


def rewriting_small():
    """Every part of small models with a reader and without."""
    result = []
    for reader in (True, False):
        model, form = small_model(reader)
        sentences = ("the food was good", "qwe rty uio pas dfg hjk zxc vbn nmm was bad but nice .")
        cases = [decoded(model, s, w) for s in sentences for w in AT]
        texts = [rewritten(model, t, w) for t in TYPED for w in AT]
        texts += [rewritten(model, t, AT[0], locked=["Food", "wasn't"], count=2) for t in TYPED]
        texts += [rewritten(model, "12 34 qq", AT[0]), rewritten(model, "\u200d", AT[0])]
        whole = [along(model, t) for t in TYPED] if reader else []
        whole += [along(model, TYPED[0], locked=["food", "LOVED"])] if reader else []
        result.append(packed(form) | {"decoded": cases, "texts": texts, "along": whole})
    return result


def published_model():
    """The published rewriter of sentiment."""
    model = steering.load("sentiment")
    return model, published_form(model)


def typed_sentences():
    """(weights, sentence): those that the book types, then those that test negation."""
    rows = []
    for name in ("typed_sentences", "negation_stress"):
        path = published.folders("04_rewriter")[0].parents[2] / "corpus" / f"{name}.tsv"
        with path.open(encoding="utf-8", newline="") as file:
            table = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
        rows += [(AT[i % 3], row["sentence"]) for i, row in enumerate(table)]
    return rows


@torch.no_grad()
def rewriting_published():
    """Sentences rewritten by the published weights, with the beams before they are ranked."""
    model, form = published_model()
    texts = []
    for weights, typed in typed_sentences()[:GOLDEN]:
        sentence = text.tokenise(typed, keep_numbers=True)
        row = rewritten(model, typed, weights)
        if len(sentences.split_sentences(sentence.split(), steering.MAX_WORDS)) == 1:
            source = model.vocabulary.encode([sentence])
            memory = model.rewriter.encode(source.tokens, torch.tensor([weights]))
            steps = int(source.lengths[0]) + steering.LONGER
            row |= {"source": source.tokens[0], "steps": steps}
            row["beams"] = [beams_of(model.rewriter, memory, width, steps) for width in (1, 10)]
        texts.append(row)
    whole = [along(model, typed) for _, typed in typed_sentences()[:ALONG]]
    return packed(form) | {"texts": texts, "along": whole}


def captions_published():
    """Captions, and other texts, with clauses of the published bank."""
    model = steering.load("captions")
    path = published.folders("04_rewriter")[0].parents[2] / "corpus" / "captions.tsv"
    lines = path.read_text("utf-8").splitlines()[1 :: len(TYPED)]
    typed = [*TYPED, *(line.split("\t")[i % 3] for i, line in enumerate(lines[:GOLDEN]))]
    ends = ((0, 1.0, 0), (0, 0, 1.0), (0, 0.5, 0.5), (1.0, 0, 0))
    texts = [rewritten(model, text, ends[i % 4]) for i, text in enumerate(typed)]
    form = {"bank": model.bank.parts, "vertices": model.vertices}, {}
    return packed(form) | {"texts": texts}
