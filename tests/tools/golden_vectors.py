"""What PyTorch computes, for the tests of the page's models: `node --test tests/widgets`.

python tests/tools/golden_vectors.py    writes _build/golden.json, where those tests look for it
"""

import base64
import itertools
import json
import math
import random
from pathlib import Path

import numpy as np
import small_widgets as small
import torch
from hyper_rnn_pages import particle_runs, survivors
from page_hashes import box_muller, mulberry32
from page_words import split_words
from quiz import information_at_least, wilson
from rewriting_vectors import captions_published, rewriting_published, rewriting_small

from dgm import coding
from dgm.data import text
from dgm.papers import bre_gan
from dgm.papers import mutual_information_lm as lm
from dgm.papers.pooling_vae import dispersion
from dgm.papers.rate_distortion import linear_gaussian_curve, rate_distortion_curve
from dgm.papers.variational_hyper_rnn import trace
from dgm.sampling.linear_gaussian import LinearGaussian
from dgm_book.chapters.mutual_information_lm.page import best_critic
from dgm_book.chapters.rate_distortion.chapter import mixture
from dgm_book.widgets import ParticleKalman
from dgm_book.widgets.rate_distortion import hand_drawn
from dgm_book.widgets.variational_hyper_rnn import CRITERIA, SYSTEM

ROOT = Path(__file__).parents[2]
PATH = ROOT / "_build" / "golden.json"
TYPED = ROOT / "tests" / "dgm" / "data" / "words.json"
BETAS = np.geomspace(0.05, 5, 6).tolist()


def packed(weights):
    """Weights as their trait brings them to the page."""
    return {"header": weights.header, "data": base64.b64encode(weights.data).decode()}


def networks():
    weights = small.page_weights()
    z = np.random.default_rng(1).normal(size=(4, 2))
    golden = small.decode(weights.layers("vae2"), z)
    return packed(small.page_weights(golden={"vae2": (z, golden)})) | {"z": z, "x": golden}


def recurrent():
    golden, dice = {}, torch.Generator().manual_seed(1)
    for name, model in small.recurrent().items():
        x = torch.randn(12, 2, generator=dice)
        noise = torch.randn(12, 5, model.z_dim, generator=dice)
        golden[name] = {"x": x, "noise": noise, **trace(model, x, noise)._asdict()}
    return packed(small.hyper_weights(golden=golden))


def perceptron(sizes, activations, seed=0, gain=1.0):
    """A perceptron in float64, and its layers as the page's sampler takes them."""
    dice = torch.Generator().manual_seed(seed)
    parts, layers = [], []
    kinds = {"tanh": torch.nn.Tanh, "sigmoid": torch.nn.Sigmoid, "relu": torch.nn.ReLU}
    for inputs, outputs, activation in zip(sizes, sizes[1:], activations, strict=False):
        layer = torch.nn.Linear(inputs, outputs).requires_grad_(False)
        layer.weight.copy_(gain * torch.randn(outputs, inputs, generator=dice))
        layer.bias.copy_(0.3 * torch.randn(outputs, generator=dice))
        parts += [layer.double(), *([kinds[activation]()] if activation in kinds else [])]
        row = {"rows": outputs, "columns": inputs, "activation": activation}
        layers.append(row | {"weight": layer.weight.flatten(), "bias": layer.bias})
    return torch.nn.Sequential(*parts), layers


def gradients():
    """Images, energies |f(z) - x|^2 and their gradients in z."""
    cases = []
    for sizes, activations in [
        ([5, 64, 784], ["tanh", "sigmoid"]),
        ([3, 7, 6, 10], ["relu", "tanh", "sigmoid"]),
        ([2, 9], ["linear"]),
        ([2, 16, 32], ["sigmoid", "linear"]),
    ]:
        decoder, layers = perceptron(sizes, activations, gain=0.7)
        dice = torch.Generator().manual_seed(3)
        z = torch.randn(sizes[0], generator=dice, dtype=torch.float64).requires_grad_()
        x = torch.rand(sizes[-1], generator=dice, dtype=torch.float64)
        image = decoder(z)
        energy = (image - x).square().sum()
        (gradient,) = torch.autograd.grad(energy, z)
        case = {"layers": layers, "x": x, "z": z.detach(), "image": image.detach()}
        cases.append(case | {"energy": energy.detach(), "gradient": gradient})
    return cases


def curves():
    """The closed form of a linear decoder, and the library's own curve of a network."""
    decoder, layers = perceptron([3, 12], ["linear"], seed=4, gain=0.6)
    x = torch.randn(12, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    exact = linear_gaussian_curve(decoder[0].weight, decoder[0].bias, x[None], BETAS)
    names = ("log_z", "distortion", "rate")
    closed = {name: getattr(exact, name)[:, 0] for name in names}
    # At the last beta, for any image: log Z = constant - (x - b)' precision (x - b) / 2.
    weight, bias = decoder[0].weight, decoder[0].bias
    covariance = weight @ weight.T + torch.eye(12) / (2 * BETAS[-1])
    constant = 6 * math.log(math.pi / BETAS[-1]) - torch.logdet(2 * math.pi * covariance) / 2
    precision, apart = torch.linalg.inv(covariance), x - bias
    torch.testing.assert_close(constant - apart @ precision @ apart / 2, exact.log_z[-1, 0])
    closed |= {"bias": bias, "precision": precision, "constant": constant}
    net, net_layers = perceptron([2, 16, 32], ["tanh", "sigmoid"], seed=7)
    image = torch.rand(32, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    options = {"n_chains": 100, "n_leapfrog": 5, "temperatures_per_beta": 20, "progress": False}
    curve = rate_distortion_curve(net, image.repeat(8, 1), latent_dim=2, betas=BETAS, **options)
    library = {}
    for name in names[:2]:
        values = getattr(curve, name)
        library[name] = {"mean": values.mean(1), "error": values.std(1) / 8**0.5}
    linear = {"layers": layers, "x": x, **closed}
    network = {"layers": net_layers, "x": image, **library}
    return {"betas": BETAS, "linear": linear, "network": network}


def flat(module):
    return torch.nn.utils.parameters_to_vector(module.parameters()).detach()


def toy_gans(seed, width, batch=33, scale=1.5):
    """Random networks and points in float64: D, G, z, real, fake."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        nets = bre_gan.toy_discriminator(width).double(), bre_gan.toy_generator(2, width).double()
        for net in nets:
            for parameter in net.parameters():
                parameter.data *= scale
        z, real = torch.randn(2, batch, 2, dtype=torch.float64)
    return *nets, z, real, nets[1](torch.randn(batch, 2, dtype=torch.float64)).detach()


def squares(net):
    return 1e-4 * sum(p.square().sum() for p in net.parameters() if p.ndim == 2)


def gradient_of(loss, net):
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(net.parameters()))])


def gan_losses():
    cases = []
    for width, margin, weight in itertools.product((10, 16), (0.5, 3.0), (0.0, 0.7)):
        d, g, z, real, fake = toy_gans(width, width)
        dice = torch.Generator().manual_seed(5)
        between = bre_gan.interpolate(real, fake, dice)
        settings = {"weight": weight, "layers": [1], "margin": margin}
        out = bre_gan.discriminator_objective(d, real, fake, dice.manual_seed(5), **settings)
        loss = out.value + squares(d)
        generator = bre_gan.generator_objective(d, g(z)) + squares(g)
        points = {"z": z, "real": real, "fake": fake, "between": between}
        terms = {
            f"terms_{name}": list(bre_gan.bre_penalty(d, points[name], [1], margin=margin))
            for name in ("fake", "between")
        }
        case = {"theta": flat(d), "psi": flat(g), "width": width, "weight": weight}
        case |= points | terms | {"margin": margin, "loss": loss, "generator": generator}
        cases.append(case | {"gradient": gradient_of(loss, d), "push": gradient_of(generator, g)})
    return cases


def adam():
    dice = torch.Generator().manual_seed(1)
    theta = torch.randn(7, generator=dice, dtype=torch.float64).requires_grad_()
    steps = torch.randn(5, 7, generator=dice, dtype=torch.float64)
    start = theta.detach().clone()
    optimiser = torch.optim.Adam([theta], lr=0.01, betas=(0.5, 0.999))
    for gradient in steps:
        theta.grad = gradient
        optimiser.step()
    return {"theta": start, "gradients": steps, "rate": 0.01, "end": theta.detach()}


def bre_terms():
    cases = []
    for (k, d), margin in itertools.product([(2, 1), (8, 12), (30, 5)], [0.0, 0.7, 3.0]):
        h = torch.randn(k, d, generator=torch.Generator().manual_seed(k), dtype=torch.float64)
        h[0, 0] = 0
        cases.append({"h": h, "margin": margin, "terms": list(bre_gan.bre_terms(h, 0.01, margin))})
    return cases


def readouts():
    """What a playground shows of two networks, and the points that it generates from its seed."""
    d, g, *_ = toy_gans(8, 10, scale=3)
    codes = box_muller(mulberry32(np.arange(1, 401), 3 + 977).reshape(-1, 2))
    fakes, centres = g(torch.from_numpy(codes)).detach(), small.target()["centres"]
    covered = bre_gan.mode_coverage(fakes, torch.from_numpy(centres), 0.1)
    _, (h,) = bre_gan.pre_activations(d, fakes[:128], [1])
    panel = {"patterns": bre_gan.regions(d, fakes), "spread": bre_gan.gradient_spread(d, fakes)}
    panel |= {"modes": covered.covered, "quality": covered.high_quality}
    case = {"theta": flat(d), "psi": flat(g), "fakes": fakes, "panel": panel, "centres": centres}
    return case | {"terms": list(bre_gan.bre_terms(h))}


def cells():
    """The patterns of a discriminator's units on a grid, as the page names them."""
    d = toy_gans(4, 10)[0]
    axis = torch.linspace(-2, 2, 400, dtype=torch.float64)
    signs = bre_gan.activation_patterns(d, torch.cartesian_prod(axis, axis)).long()
    words = (signs.reshape(-1, 4, 10) << torch.arange(10)).sum(2).unique(dim=0)
    return {"theta": flat(d), "width": 10, "limit": 2.0, "grid": words}


def particles():
    runs = []
    sequences = {s["name"]: np.array(s["x"]) for s in ParticleKalman().sequences}
    for criterion, (name, x) in itertools.product(CRITERIA, sequences.items()):
        for n, run in itertools.product((1, 5, 64), (0, 10_399)):
            cloud = particle_runs(x, n, criterion, [run])
            arrays = {"z": cloud.z[0], "w": cloud.weights[0], "parent": cloud.parents[0]}
            arrays |= {"ess": cloud.ess.ravel(), "resampled": cloud.resampled.ravel()}
            case = {"sequence": name, "n": n, "criterion": criterion, "run": run}
            case |= {"survivors": survivors(cloud.parents[0]), "estimate": cloud.log_likelihood[0]}
            runs.append(case | arrays)
    exact = {k: LinearGaussian().filter(torch.from_numpy(x))[0] for k, x in sequences.items()}
    return {"system": SYSTEM, "sequences": sequences, "exact": exact, "runs": runs}


def damage():
    """The mean curve of the mixture of both priors, by the chapter's own function."""
    data = small.damage()
    beta = torch.as_tensor(data["beta"], dtype=torch.float64)
    terms = {}
    for prior, measure in itertools.product(("narrow", "wide"), ("log_z", "distortion")):
        terms[f"{prior}_{measure}"] = torch.tensor(np.array(data[f"{prior}_{measure}"])).float()
    cases = []
    for alpha, blur in itertools.product((0, 0.01, 0.5, 0.99), range(4)):
        ends = [
            {"beta": beta} | {m: terms[f"{p}_{m}"][blur].double() for m in ("log_z", "distortion")}
            for p in ("narrow", "wide")
        ]
        curve = mixture(*ends, alpha)
        means = {m: curve[m].mean(1) for m in ("log_z", "distortion", "rate")}
        cases.append({"alpha": alpha, "blur": blur, **means})
    return {"beta": beta, **terms, "cases": cases}


def bounds():
    """Estimates of one mutual information in the page's batches, with the best critic."""
    cases, size = [], 2 * 256 * 20
    for number, rho, d, n in ((0, 0.9, 1, 64), (23, 0.9, 20, 32), (9, 0.5, 3, 2), (40, 0.0, 20, 8)):
        uniforms = mulberry32(np.arange(size) + number * size + 1).reshape(-1, 2)
        x, noise = torch.from_numpy(box_muller(uniforms).reshape(2, 256, 20))[:, :n, :d]
        y = rho * x + math.sqrt(1 - rho**2) * noise
        scores = best_critic(x[:, None], y, rho).sum(-1)
        joint, product = scores.diagonal(), scores[~torch.eye(n, dtype=torch.bool)]
        classifier = math.log(2) - lm.jensen_shannon_loss(joint, product) / 2
        values = [lm.donsker_varadhan(joint, product), lm.nwj(joint + 1, product + 1)]
        values += [lm.info_nce(scores), classifier]
        case = {"number": number, "rho": rho, "d": d, "n": n, "scores": scores}
        cases.append(case | {"bounds": values})
    return cases


def lotteries():
    cases = []
    for p, temperature in ((0.3, 1.0), (0.05, 0.1), (0.9, 10.0)):
        scores = torch.randn(12, generator=torch.Generator().manual_seed(0)).double()
        log_prob = torch.log(p * (1 - p) ** torch.arange(12).double())
        weights = lm.raml_weights(scores, scores[:1].expand_as(scores), log_prob, temperature)
        shares = torch.softmax(scores / temperature, 0)
        case = {"scores": scores, "p": p, "temperature": temperature}
        cases.append(case | {"weight": weights, "share": shares})
    return cases


def shares():
    rows = [(0, 1), (1, 1), (3, 10), (7.5, 20), (500, 500)]
    tells = [(share, information_at_least(share)) for share in (0, 0.1, 0.5, 0.9, 1)]
    return {"wilson": [[*row, *wilson(*row)] for row in rows], "information": tells}


def pools():
    h = torch.randn(9, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    soft = []
    for tau in (0, 0.3, 2.0, math.inf):
        states = h.clone().requires_grad_()
        if tau == 0:
            pooled = states.amax(0)
        elif math.isinf(tau):
            pooled = states.mean(0)
        else:
            pooled = tau * (torch.logsumexp(states / tau, 0) - math.log(9))
        pooled.mean().backward()
        row = {"tau": -1 if math.isinf(tau) else tau, "s": pooled.detach()}
        soft.append(row | {"share": states.grad.sum(1)})
    return {"h": h, "soft": soft, "dispersion": dispersion(h)._asdict()}


def sentences():
    """What readers type and other strings, as words for both kinds of models."""
    dice = random.Random(0)
    pieces = [
        *"abcnst't''\"\"``.,!?-–—’“0123456789_()/+: éßİΣ中🍕½²٣ﬁ\u200d\u0301\x00\x1c\x85\ufeff",
        *"\t\n\u3000\u0323\u20e3\u094dนıI",
    ]
    pieces += ["❤️", "n't", "can", "cannot", "gonna", " wanna ", "..", "--", "<b>", "I'VE", "&nbsp;"]
    pieces += ["w/", "c+", "_num_", "5.50", "1,000", "mr. ", "st.", "does n't", "…", "‘", "”"]
    typed = ["".join(dice.choices(pieces, k=dice.randrange(30))) for _ in range(3000)]
    typed += [" ", "I can't; it's $5.50 (really)!", *small.EXAMPLES]
    typed += [row["typed"] for row in json.loads(TYPED.read_text("utf-8"))]
    return [[t, text.tokenise(t).split(), split_words(t)] for t in typed]


def files():
    """Numbers of candidates as the bytes of files."""
    numbers = [*range(1, 40), 255, 256, 4097, 32768, 2**20 - 1, 2**31 - 1]
    return [[n, list(coding.write_index(n))] for n in numbers]


def plain(value):
    if isinstance(value, torch.Tensor):
        return value.detach().tolist()
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is no part of a golden vector")


PARTS = (
    networks, recurrent, gradients, curves, gan_losses, adam, bre_terms, readouts, cells,
    particles, damage, bounds, lotteries, shares, pools, sentences, hand_drawn, files,
    rewriting_small, rewriting_published, captions_published,
)  # fmt: skip


def write(path: Path = PATH) -> Path:
    """Write all vectors, by the name of their function."""
    path.parent.mkdir(exist_ok=True)
    vectors = {part.__name__: part() for part in PARTS}
    path.write_text(json.dumps(vectors, default=plain), "utf-8")
    return path


if __name__ == "__main__":
    print(write())
