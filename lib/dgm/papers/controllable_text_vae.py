"""Xu, Cheung, Cao: On Variational Learning of Controllable Representations for Text without Supervision.

ICML 2020. A sentence x has two codes: z1, whose posterior mean is confined to a learned simplex with
K vertices e_k, and a free residual z2. From a feature h of the whole sentence and a window of x,

    q(z1 | h) = N(E' p, diag sigma1^2),  p = softmax(W r + b),  [r, log sigma1^2] = A h + a   (1)
    q(z2 | x) = N(mu2, diag sigma2^2)                                                         (2)
    L_rec  = - sum_t log p(x_t | x_<t, z1, z2)                                                (3)
    L_SREC = mean of max(0, 1 - cos(mu1_i, r_i) + cos(mu1_j, r_i)) over negatives j           (4)
    L_REG  = || E E' - alpha I ||_F                                                           (5)
    L = L_rec + beta_u KL(q(z2) || N(0, I)) + beta_s KL(q(z1) || N(0, I))
        + lambda_S L_SREC + lambda_R L_REG                                                    (6)

Equation (6) pulls z1 to the simplex's centroid by its KL, and equation (4) pushes to the vertices. To
rewrite x, z2 is kept at its mean, z1 set to a point of the simplex, and the rest is beam search. How
far a code z lies from the n training posteriors is told in two ways,

    log q(z)         = log (1/n) sum_i N(z; mu_i, diag sigma_i^2)                             (7)
    mean log density = (1/n) sum_i log N(z; mu_i, diag sigma_i^2)  <=  log q(z)               (8)

and the published histograms show equation (8). All in nats. Token ids: <pad> 0, <s> 1, </s> 2.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from dgm.nets.lstm import LSTMDecoder
from dgm.nets.sentences import split_sentences
from dgm.nets.simplex import (
    SimplexBlock,
    SimplexCode,
    orthogonality_loss,
    simplex_mean,
    structured_reconstruction_loss,
)
from dgm.nets.text_vae import SentenceEncoder, SentencePosterior, aggressive_encoder_steps
from dgm.sampling.beam import beam_search
from dgm.vae import gaussian_kl, reparameterise

__all__ = [
    "BestDimension",
    "ControllableTerms",
    "ControllableTextVAE",
    "LossWeights",
    "MapperGraph",
    "Rewriter",
    "Rewrites",
    "SimplexDispersion",
    "Vertices",
    "aggregate_log_density",
    "aggressive_encoder_steps",
    "best_sentiment_dimension",
    "controllable_objective",
    "crop",
    "decode",
    "identify_vertices",
    "manipulate",
    "mapper_graph",
    "mean_log_density",
    "orthogonality_loss",
    "simplex_dispersion",
    "simplex_mean",
    "steer",
    "structured_reconstruction_loss",
    "transfer",
]

WINDOW = 10  # positions that the residual reads and the decoder writes in training


class ControllableTextVAE(nn.Module):
    """Equations (1) to (3).

    Args:
        vocabulary_size: V.
        feature_dim: F of the sentence features h; None is the text-only variant, whose features come
            from a bidirectional LSTM of its own (see `features`).
        embedding: width of the encoders' token embeddings.
        hidden: H of all LSTMs.
        structured_dim: dimensions of z1.
        residual_dim: dimensions of z2.
        n_vertices: K.
        decoder_embedding: width of the decoder's token embedding.
        layers: of the residual's encoder.
        dropout: of the decoder's inputs and outputs in training.
        alpha: squared length of the vertices at the start; see `SimplexBlock`.
    """

    def __init__(
        self,
        vocabulary_size: int,
        feature_dim: int | None,
        *,
        embedding: int = 256,
        hidden: int = 1024,
        structured_dim: int = 16,
        residual_dim: int = 64,
        n_vertices: int = 3,
        decoder_embedding: int = 128,
        layers: int = 2,
        dropout: float = 0.5,
        alpha: float | None = None,
    ) -> None:
        super().__init__()
        self.reader = None
        if feature_dim is None:
            self.reader = SentenceEncoder(vocabulary_size, embedding, hidden, layers=1)
            feature_dim = hidden
        self.simplex = SimplexBlock(feature_dim, structured_dim, n_vertices, alpha)
        self.residual = SentencePosterior(
            vocabulary_size, embedding, hidden, residual_dim, layers=layers
        )
        self.decoder = LSTMDecoder(
            vocabulary_size, decoder_embedding, hidden, structured_dim + residual_dim, dropout
        )

    @property
    def n_vertices(self) -> int:
        """K."""
        return len(self.simplex.vertices)

    def features(self, tokens: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The text-only variant's features (B, F) of whole sentences (B, T)."""
        if self.reader is None:
            raise ValueError("this model takes features from elsewhere: feature_dim was given")
        return self.reader(tokens, lengths)

    def posterior(
        self, tokens: Tensor, lengths: Tensor | None, features: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mean and log-variance (B, D) of [z1, z2] for windows (B, T) and features (B, F)."""
        code = self.simplex(features)
        mu, logvar = self.residual(tokens, lengths)
        return torch.cat([code.mu, mu], 1), torch.cat([code.logvar, logvar], 1)

    def code(self, weights: Tensor, residual: Tensor) -> Tensor:
        """[z1, z2] (B, D) with z1 at the weights (B, K) or (K,) of the simplex, z2 = residual (B, D2)."""
        weights = weights.to(residual).expand(len(residual), -1)
        return torch.cat([simplex_mean(weights, self.simplex.vertices), residual], 1)


class LossWeights(NamedTuple):
    """The weights of equation (6), as released for features; the text-only variant has alpha 10."""

    residual: float = 0.35  # beta_u
    structured: float = 0.2  # beta_s
    reconstruction: float = 1.0  # lambda_S
    orthogonality: float = 1.0  # lambda_R
    alpha: float = 100.0


class ControllableTerms(NamedTuple):
    """Equation (6) and its parts before weighting, scalars: means over the batch, nats a sentence."""

    value: Tensor
    reconstruction: Tensor
    kl_residual: Tensor
    kl_structured: Tensor
    structured_reconstruction: Tensor
    orthogonality: Tensor


def crop(tokens: Tensor, generator: torch.Generator, width: int = WINDOW) -> Tensor:
    """A random window of each sentence of a batch of equal length.

    Args:
        tokens: (B, L) without padding.
        generator: draws where each window starts, evenly.
        width: of the window, unless L is less.

    Returns:
        (B, min(L, width)).
    """
    b, length = tokens.shape
    width = min(length, width)
    start = torch.randint(
        length - width + 1, (b, 1), generator=generator, device=generator.device
    ).to(tokens.device)
    return tokens.gather(1, start + torch.arange(width, device=tokens.device))


def controllable_objective(
    model: ControllableTextVAE,
    window: Tensor,
    features: Tensor,
    generator: torch.Generator,
    *,
    lengths: Tensor | None = None,
    negatives: Tensor | int = 10,
    weights: LossWeights = LossWeights(),  # noqa: B008
    dropout: bool = True,
) -> ControllableTerms:
    """Equation (6), with gradient and without waiting for the device.

    Args:
        model: the model.
        window: (B, T) tokens that the residual reads and the decoder writes.
        features: (B, F) of the whole sentences.
        generator: of the codes and of dropout.
        lengths: (B,) of the windows; None where all are T.
        negatives: (B, M, F) features of other sentences, or the number M of other sentences of the batch to
            take for each, which is what the text-only variant does.
        weights: of the terms.
        dropout: whether the decoder's dropout is on.
    """
    code: SimplexCode = model.simplex(features)
    if isinstance(negatives, Tensor):
        others = model.simplex(negatives.flatten(0, 1)).mu.unflatten(0, negatives.shape[:2])
    else:
        shifts = torch.arange(1, 1 + min(negatives, len(window) - 1), device=window.device)
        rows = torch.arange(len(window), device=window.device)[:, None]
        others = code.mu[(rows + shifts) % len(window)]
    mu, logvar = model.residual(window, lengths)
    z = reparameterise(torch.cat([code.mu, mu], 1), torch.cat([code.logvar, logvar], 1), generator)
    reconstruction = model.decoder.nll(window, lengths, z, generator if dropout else None).mean()
    kl_residual = gaussian_kl(mu, logvar, validate=False).mean()
    kl_structured = gaussian_kl(code.mu, code.logvar, validate=False).mean()
    hinge = structured_reconstruction_loss(code.query, code.mu, others)
    orthogonality = orthogonality_loss(model.simplex.vertices, weights.alpha)
    value = (
        reconstruction
        + weights.residual * kl_residual
        + weights.structured * kl_structured
        + weights.reconstruction * hinge
        + weights.orthogonality * orthogonality
    )
    return ControllableTerms(
        value, reconstruction, kl_residual, kl_structured, hinge, orthogonality
    )


class Rewrites(NamedTuple):
    """The best hypothesis of each of N sentences."""

    tokens: Tensor  # (N, T) with </s> where it was reached, then padding
    log_prob: Tensor  # (N,) nats
    finished: Tensor  # (N,) bool


@torch.no_grad()
def decode(
    decoder: LSTMDecoder,
    z: Tensor,
    *,
    width: int = 5,
    max_steps: int = 20,
    batch_size: int = 256,
    forbidden: Sequence[int] = (0, 1),
) -> Rewrites:
    """Beam search from codes z (N, D), batch_size of them at a time; results on the CPU."""
    parts = []
    for codes in z.split(batch_size):
        state = decoder.start(codes)
        found = beam_search(
            decoder.step, state, len(codes), width=width, max_steps=max_steps, forbidden=forbidden
        )
        missing = max_steps - found.tokens.shape[-1]
        best = nn.functional.pad(found.tokens[:, 0], (0, missing))
        parts.append(Rewrites(best, found.log_prob[:, 0], found.finished[:, 0]))
    tokens, log_prob, finished = (torch.cat(x).cpu() for x in zip(*parts, strict=True))
    return Rewrites(tokens, log_prob.double(), finished)


@torch.no_grad()
def transfer(
    model: ControllableTextVAE,
    tokens: Tensor,
    lengths: Tensor,
    weights: Tensor,
    *,
    window: int = WINDOW,
    **options: Any,
) -> Rewrites:
    """Sentences anew, with z1 at another place of the simplex and z2 at its mean.

    Args:
        model: the model.
        tokens: (N, L), padded.
        lengths: (N,).
        weights: (N, K) or (K,) barycentric; a row of the identity is a vertex.
        window: the residual reads as many first positions.
        options: of `decode`.
    """
    residual, _ = model.residual(tokens[:, :window], lengths.clamp(max=window))
    return decode(model.decoder, model.code(weights, residual), **options)


class Steerable(Protocol):
    """What `steer` needs of a model; with an attribute n_vertices, it is checked too."""

    def rewrite(self, sentence: str, weights: Tensor) -> str:
        """The sentence anew at barycentric weights (K,)."""


class Rewriter(NamedTuple):
    """A trained model with its vocabulary: text in, text out.

    Attributes:
        model: the model.
        vocabulary: has encode(texts) -> tokens, lengths, unknown, and decode(ids, unknown) -> str.
        tokenise: what is typed -> words apart by spaces, numbers as they are.
        options: of `decode`.
    """

    model: ControllableTextVAE
    vocabulary: Any
    tokenise: Callable[[str], str] = str.lower
    options: dict[str, Any] | None = None

    @property
    def n_vertices(self) -> int:
        """K."""
        return self.model.n_vertices

    def rewrite(self, sentence: str, weights: Tensor) -> str:
        """The text anew at barycentric weights (K,), in pieces no longer than what the residual reads."""
        options = {"window": WINDOW, "forbidden": (0, 1), **(self.options or {})}
        texts = getattr(self.vocabulary, "tokens", ())
        device = self.model.simplex.vertices.device
        rewritten = []
        for piece in split_sentences(self.tokenise(sentence).split(), options["window"] - 1):
            corpus = self.vocabulary.encode([" ".join(piece)])
            tokens, lengths = corpus.tokens.to(device), corpus.lengths.to(device)
            # A marker that the source has not would stand for nothing.
            markers = {"<unk>": bool(corpus.unknown[0]), "_num_": "_num_" in piece}
            absent = [i for i, text in enumerate(texts) if not markers.get(text, True)]
            forbidden = (*options["forbidden"], *absent)
            best = transfer(
                self.model, tokens, lengths, weights, **{**options, "forbidden": forbidden}
            )
            text = self.vocabulary.decode(best.tokens[0].tolist(), corpus.unknown[0])
            rewritten += [word for word in text.split() if word != "<unk>"]
        return " ".join(rewritten)


def steer(model: Steerable, sentence: str, weights: Sequence[float] | Tensor) -> str:
    """Rewrites a text at a place of the simplex.

    Args:
        model: a `Rewriter`, or anything else with rewrite(sentence, weights (K,)).
        sentence: one or more, with at least one word; the models here rewrite them one by one, and write
            numbers and unknown words as they were.
        weights: K numbers, 0 or more, one weight a vertex; they are divided by their sum.

    Raises:
        ValueError: no word, or weights that are not K finite numbers of 0 or more, one of them above 0.
    """
    if not isinstance(sentence, str) or not sentence.strip():
        raise ValueError(f"sentence must be text with at least one word, got {sentence!r}")
    w = torch.as_tensor(weights, dtype=torch.float64)
    wanted = getattr(model, "n_vertices", w.numel())
    if w.shape != (wanted,):
        raise ValueError(f"want {wanted} weights, one a vertex, got shape {tuple(w.shape)}")
    if not (torch.isfinite(w).all() and (w >= 0).all() and w.sum() > 0):
        raise ValueError(f"weights must be 0 or more, finite, not all 0: got {w.tolist()}")
    return model.rewrite(sentence, w / w.sum())


class Vertices(NamedTuple):
    """Which vertex speaks for which label, from labelled sentences."""

    negative: int
    positive: int
    purity: float  # share of sentences that have the majority label of their nearest vertex
    chance: float  # the purity of a simplex that knows nothing: the share of the commoner label
    collision: bool  # both labels have the same vertex with the largest mean weight
    counts: Tensor  # (K, 2) sentences nearest to each vertex, by label


def identify_vertices(p: Tensor, labels: Tensor, minimum: int = 100) -> Vertices:
    """Names the vertices: the one whose mean weight is most larger in positive sentences, and the reverse.

    The published rule takes each label's vertex of largest mean weight, from ten sentences each, and the
    second best where both are the same: `collision` says whether it would have had to.

    Args:
        p: (N, K) barycentric weights.
        labels: (N,) 0 negative, 1 positive.
        minimum: sentences wanted.

    Raises:
        ValueError: too few sentences, a label is missing, or another label is there.
    """
    p, labels = p.detach().to("cpu", torch.float64), labels.to("cpu", torch.int64)
    if p.ndim != 2 or len(p) != len(labels) or len(p) < minimum:
        raise ValueError(
            f"want p (N, K) and N labels, N at least {minimum}, got {tuple(p.shape)} and {len(labels)}"
        )
    if set(labels.tolist()) != {0, 1}:
        raise ValueError(f"labels must be 0 and 1, both there, got {labels.unique().tolist()}")
    negative, positive = p[labels == 0].mean(0), p[labels == 1].mean(0)
    contrast = positive - negative
    nearest = p.argmax(1)
    counts = torch.bincount(2 * nearest + labels, minlength=2 * p.shape[1]).view(-1, 2)
    return Vertices(
        negative=int(contrast.argmin()),
        positive=int(contrast.argmax()),
        purity=float(counts.amax(1).sum() / len(p)),
        chance=float(counts.sum(0).max() / len(p)),
        collision=bool(negative.argmax() == positive.argmax()),
        counts=counts,
    )


class SimplexDispersion(NamedTuple):
    """How N codes fill the simplex."""

    spread: Tensor  # variance about their mean over that of codes even on all vertices: 0 to 1
    entropy: Tensor  # mean entropy of p over log K: 1 at the centroid, 0 at vertices
    occupancy: Tensor  # (K,) share of codes nearest to each vertex


def simplex_dispersion(p: Tensor) -> SimplexDispersion:
    """Whether barycentric weights p (N, K) have collapsed to a point, or live at the vertices."""
    p = p.detach().to("cpu", torch.float64)
    k = p.shape[1]
    spread = (p - p.mean(0)).square().sum(1).mean() / (1 - 1 / k)
    entropy = -torch.special.xlogy(p, p).sum(1).mean() / math.log(k)
    return SimplexDispersion(
        spread, entropy, torch.bincount(p.argmax(1), minlength=k).double() / len(p)
    )


class BestDimension(NamedTuple):
    """The dimension of an ordinary VAE whose sign tells the label best."""

    index: int
    sign: int  # +1: positive sentences lie above the mean
    accuracy: float


def best_sentiment_dimension(mu: Tensor, labels: Tensor) -> BestDimension:
    """Searches posterior means (N, D), centred, for the best single-sign classifier of labels (N,) 0 or 1."""
    mu, labels = mu.detach().to("cpu", torch.float64), labels.to("cpu")
    if mu.ndim != 2 or len(mu) != len(labels) or set(labels.tolist()) != {0, 1}:
        raise ValueError(f"want mu (N, D) and N labels 0 and 1, got {tuple(mu.shape)}")
    share = ((mu > mu.mean(0)) == (labels == 1)[:, None]).double().mean(0)
    index = int(torch.maximum(share, 1 - share).argmax())
    up = bool(share[index] >= 0.5)
    return BestDimension(index, 1 if up else -1, float(share[index] if up else 1 - share[index]))


def manipulate(
    z: Tensor,
    best: BestDimension,
    training_mu: Tensor,
    target: Tensor,
    amount: float | str,
    mode: str = "add",
) -> Tensor:
    """Codes of an ordinary VAE with their sentiment dimension moved.

    Args:
        z: (N, D) posterior means.
        best: the dimension, and which way is positive.
        training_mu: (M, D) posterior means of the training set.
        target: (N,) labels wanted, 0 or 1.
        amount: standard deviations of the training means from their mean, or "extremum": the farthest
            training mean on that side.
        mode: "add" the value to the coordinate, as released, or "set" it.

    Returns:
        (N, D), a copy.

    Raises:
        ValueError: an unknown amount or mode.
    """
    if mode not in ("add", "set"):
        raise ValueError(f"mode must be add or set, got {mode!r}")
    column = training_mu[:, best.index].to(z)
    direction = best.sign * (2 * target.to(z) - 1)
    if amount == "extremum":
        value = torch.where(direction > 0, column.max(), column.min())
    elif isinstance(amount, int | float):
        value = column.mean() + direction * amount * column.std()
    else:
        raise ValueError(f"amount must be a number or 'extremum', got {amount!r}")
    moved = z.clone()
    moved[:, best.index] = value + (moved[:, best.index] if mode == "add" else 0)
    return moved


def aggregate_log_density(z: Tensor, mu: Tensor, logvar: Tensor, *, chunk: int = 1024) -> Tensor:
    """Equation (7), by two matrix products in float64.

    Args:
        z: (Z, D) codes.
        mu: (N, D) posterior means.
        logvar: (N, D) posterior log-variances.
        chunk: codes at a time.

    Returns:
        (Z,) nats, CPU float64.
    """
    z, mu, logvar = _codes(z, mu, logvar)
    precision = torch.exp(-logvar)
    constant = (mu.square() * precision + logvar + math.log(2 * math.pi)).sum(1)
    parts = []
    for some in z.split(chunk):
        squared = some.square() @ precision.T - 2 * some @ (mu * precision).T + constant
        parts.append(torch.logsumexp(-0.5 * squared, 1))
    return (torch.cat(parts) - math.log(len(mu))).cpu()


def mean_log_density(z: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    """Equation (8) for codes (Z, D); (Z,) nats, CPU float64. It sees distance, and no holes."""
    z, mu, logvar = _codes(z, mu, logvar)
    precision = torch.exp(-logvar)
    constant = (mu.square() * precision + logvar + math.log(2 * math.pi)).mean(0).sum()
    squared = z.square() @ precision.mean(0) - 2 * z @ (mu * precision).mean(0) + constant
    return (-0.5 * squared).cpu()


def _codes(z: Tensor, mu: Tensor, logvar: Tensor) -> Iterable[Tensor]:
    """Checked, in float64, z and mu about the mean of mu: their squares cancel less."""
    if z.ndim != 2 or mu.ndim != 2 or mu.shape != logvar.shape or z.shape[1] != mu.shape[1]:
        raise ValueError(
            "want z (Z, D), mu (N, D) and logvar (N, D), got "
            f"{tuple(z.shape)}, {tuple(mu.shape)} and {tuple(logvar.shape)}"
        )
    mu = mu.detach().double()
    centre = mu.mean(0)
    return z.detach().double() - centre, mu - centre, logvar.detach().double()


class MapperGraph(NamedTuple):
    """The size of a Mapper graph."""

    n_nodes: int
    n_edges: int
    n_components: int


def mapper_graph(
    points: Tensor | np.ndarray,
    resolution: int = 5,
    *,
    overlap: float = 0.4,
    eps: float = 0.1,
    min_samples: int = 3,
) -> MapperGraph:
    """The Mapper graph of P points: a space with vacancy falls apart as the resolution rises.

    The lens is the sum of coordinates; each of its overlapping intervals is clustered by DBSCAN with the
    cosine distance; clusters are nodes, and shared points are edges.

    Args:
        points: (P, D).
        resolution: intervals.
        overlap: of neighbouring intervals, as a share.
        eps: DBSCAN's radius.
        min_samples: DBSCAN's core size.
    """
    # Slow to import.
    import kmapper
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from sklearn.cluster import DBSCAN

    points = torch.as_tensor(points).detach().to("cpu", torch.float64).numpy()
    mapper = kmapper.KeplerMapper(verbose=0)
    graph = mapper.map(
        mapper.fit_transform(points, projection="sum"),
        points,
        cover=kmapper.Cover(n_cubes=resolution, perc_overlap=overlap),
        clusterer=DBSCAN(eps=eps, min_samples=min_samples, metric="cosine"),
    )
    names = {name: i for i, name in enumerate(graph["nodes"])}
    edges = [(names[a], names[b]) for a, linked in graph["links"].items() for b in linked]
    if not names:
        return MapperGraph(0, 0, 0)
    # scipy 1.11 counts no components, and says nothing, where indices have 64 bits.
    rows, columns = np.array(edges, dtype=np.int32).reshape(-1, 2).T
    matrix = coo_array((np.ones(len(edges)), (rows, columns)), shape=(len(names), len(names)))
    return MapperGraph(len(names), len(edges), int(connected_components(matrix, directed=False)[0]))
