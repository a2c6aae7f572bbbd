"""Decoders in files are the modules that they were exported from."""

import warnings

import numpy as np
import pytest
import torch
from checks import close
from draws import normal, rng
from torch import nn

from dgm.evaluate import evaluate, files
from dgm.sampling.perceptron import plain_layers

QUICK = {"betas": [0.1, 1.0, 10.0], "n_chains": 6, "n_leapfrog": 3, "temperatures_per_beta": 6}
QUICK |= {"progress": False, "step_sizes": 0.1, "precision": "float64"}


class Block(nn.Module):
    """Operators beyond layers: slices, concatenation, arithmetic, norms, embedded constants."""

    def __init__(self):
        super().__init__()
        self.norm, self.weight = nn.LayerNorm(8), nn.Parameter(normal(8, 6).float())

    def forward(self, z):
        t = torch.cat([torch.sin(z[:, :2]), torch.cos(z), z[:, 1:].exp().clamp(max=3.0)], 1)
        t = self.norm(nn.functional.pad(t, (0, 1))) if t.shape[1] == 7 else self.norm(t)
        return torch.softmax(nn.functional.gelu(t @ self.weight) / 2 - 0.25, 1).unsqueeze(1)


def convolutional():
    return nn.Sequential(
        nn.Linear(3, 16), nn.LeakyReLU(0.2), nn.Unflatten(1, (4, 2, 2)),
        nn.ConvTranspose2d(4, 4, 3, 2, 1, output_padding=1), nn.BatchNorm2d(4), nn.Softplus(),
        nn.Upsample(scale_factor=2), nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.ELU(),
        nn.GroupNorm(2, 4), nn.PReLU(4), nn.PixelShuffle(2), nn.Sigmoid(), nn.Flatten(),
    )  # fmt: skip


DECODERS = {
    "perceptron": lambda: nn.Sequential(
        nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16), nn.Sigmoid()
    ),
    "convolutions": convolutional,
    "operators": Block,
}


def problem(name):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        decoder = DECODERS[name]().eval().requires_grad_(False)
    for module in decoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.uniform_(0.5, 2.0, generator=rng())
    with torch.no_grad():
        images = decoder(normal(5, 3).float())
    return decoder, images + 0.1 * normal(*images.shape, seed=1).float()


def exported(decoder, path, dynamo):
    """An ONNX file as a plain script writes it: with the batch of its example."""
    pytest.importorskip("onnx", reason="dgm[onnx] is not installed")
    if dynamo:
        pytest.importorskip("onnxscript", reason="PyTorch's newer exporter needs onnxscript")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(decoder, (torch.zeros(2, 3),), path, dynamo=dynamo, verbose=False)
    return path


def same_curve(path, decoder, x, folder, tolerance):
    """In float64, where rounding turns no acceptance; the newer exporter folds norms in float32."""
    ours, theirs = (evaluate(d, x, output=folder / str(i), **QUICK)
                    for i, d in enumerate([path, decoder]))  # fmt: skip
    for a, b in zip(ours[:6], theirs[:6], strict=True):
        close(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("name", "dynamo"), [*((name, False) for name in DECODERS), ("convolutions", True)]
)
def test_an_onnx_file_gives_the_modules_curve(name, dynamo, tmp_path):
    decoder, x = problem(name)
    path = exported(decoder, tmp_path / "decoder.onnx", dynamo)
    ours = files.load_decoder(path)
    codes = normal(7, 3).float().requires_grad_()
    images, expected = ours(codes), decoder(codes)
    close(images, expected, rtol=1e-5, atol=1e-6)
    slope = normal(*images.shape, seed=2).float()
    pairs = [torch.autograd.grad((v * slope).sum(), codes)[0] for v in (images, expected)]
    close(*pairs, rtol=1e-4, atol=1e-5)
    same_curve(str(path), decoder, x, tmp_path, 1e-5 if dynamo else 1e-9)


@pytest.mark.parametrize(
    "export", [torch.jit.script, lambda m: torch.jit.trace(m, torch.zeros(2, 3))]
)
def test_a_torchscript_file_gives_the_modules_curve(export, tmp_path):
    decoder, x = problem("convolutions")
    export(decoder).save(tmp_path / "decoder.pt")
    same_curve(tmp_path / "decoder.pt", decoder, x, tmp_path, 1e-9)


class Plain(nn.Module):
    """A perceptron in its author's own words, and one that is not, since its codes decide."""

    def __init__(self, bends):
        super().__init__()
        self.first, self.last, self.bends = nn.Linear(3, 8), nn.Linear(8, 12, bias=False), bends
        self.weight = nn.Parameter(self.first.weight.detach().T.clone())

    def forward(self, z):
        h = nn.functional.leaky_relu(z @ self.weight + self.first.bias, 0.2)
        if self.bends and float(z.sum()) > 0:
            h = torch.tanh(h)
        return torch.sigmoid(self.last(h)).view(-1, 3, 4)


@pytest.mark.parametrize("bends", [False, True])
def test_a_perceptron_of_any_file_has_its_fast_trajectories(bends, tmp_path):
    decoder, codes = Plain(bends).eval(), normal(9, 3).float()
    paths = [tmp_path / "script.pt", tmp_path / "trace.pt", tmp_path / "frozen.pt"]
    script = torch.jit.script(decoder)
    script.save(paths[0])
    torch.jit.trace(decoder, codes).save(paths[1])
    torch.jit.freeze(script).save(paths[2])
    for path in [*paths, exported(decoder, tmp_path / "decoder.onnx", False)][:: 2 if bends else 1]:
        ours = files.load_decoder(path)
        assert (plain_layers(ours) is None) == bends, path
        close(ours(codes), decoder(codes), rtol=1e-6, atol=1e-6)


class Nearly(nn.Module):
    """Affine layers, beside which something else is done."""

    def __init__(self, also):
        super().__init__()
        self.first, self.last, self.also = nn.Linear(3, 8), nn.Linear(8, 12), also

    def forward(self, z):
        if self.also == "codes in place":
            z.mul_(2.0)
        h = self.first(z)
        if self.also == "clamp in place":
            h.clamp_(-50.0, 50.0)
        return self.last(h)


@pytest.mark.parametrize("also", ["codes in place", "clamp in place"])
def test_a_module_that_is_nearly_a_perceptron_is_left_as_it_is(also, tmp_path):
    decoder, codes, state = Nearly(also), 100 * normal(9, 3).float(), torch.get_rng_state()
    torch.jit.script(decoder).save(tmp_path / "decoder.pt")
    ours = files.load_decoder(tmp_path / "decoder.pt")
    assert not isinstance(ours, nn.Sequential)
    close(ours(codes.clone()), decoder(codes), rtol=1e-5, atol=1e-5)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_length_of_a_code_is_what_the_decoder_takes_alone():
    assert files.latent_dimension(nn.Linear(7, 4)) == 7
    assert files.latent_dimension(nn.Sequential(nn.Linear(2000, 3))) == 2000
    for decoder, words in ((nn.Tanh(), "of 1 and of 2"), (nn.Linear(2000, 3), "takes none")):
        with pytest.raises(ValueError, match=words):
            files.latent_dimension(decoder)


def graph(tmp_path, nodes, inputs=("z",), outputs=("y",), **weights):
    onnx = pytest.importorskip("onnx", reason="dgm[onnx] is not installed")
    make = onnx.helper
    sides = [[make.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["n", 3]) for n in side]
             for side in (inputs, outputs)]  # fmt: skip
    constants = [onnx.numpy_helper.from_array(v, n) for n, v in weights.items()]
    nodes = [make.make_node(*node[:3], **(node[3] if node[3:] else {})) for node in nodes]
    model = make.make_model(make.make_graph(nodes, "g", *sides, constants),
                            opset_imports=[make.make_opsetid("", 17)], ir_version=8)  # fmt: skip
    onnx.save(model, tmp_path / "graph.onnx")
    return tmp_path / "graph.onnx"


def test_what_is_not_covered_is_named(tmp_path):
    path = graph(tmp_path, [("Det", ["z"], ["a"]), ("Acosh", ["a"], ["y"])])
    with pytest.raises(ValueError, match=r"not covered, \['Acosh', 'Det'\]"):
        files.load_decoder(path)
    pads = {"auto_pad": "SAME_UPPER"}
    weight = np.ones((3, 3, 1), np.float32)
    nodes = [("Unsqueeze", ["z", "axis"], ["a"]), ("Conv", ["a", "w"], ["y"], pads)]
    path = graph(tmp_path, nodes, w=weight, axis=np.array([2]))
    with pytest.raises(ValueError, match=r"operator Conv of y .*SAME_UPPER"):
        files.load_decoder(path)
    with pytest.raises(ValueError, match=r"inputs .*'z', 'c'"):
        files.load_decoder(graph(tmp_path, [("Add", ["z", "c"], ["y"])], inputs=("z", "c")))


def test_a_conversion_that_is_off_the_runtime_is_refused(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime", reason="dgm[onnx] is not installed")
    from dgm.nets import onnx_decoder

    path = graph(tmp_path, [("Tanh", ["z"], ["y"])])
    files.load_decoder(path)
    monkeypatch.setitem(onnx_decoder.OPERATORS, "Tanh", lambda x: torch.tanh(x) + 1e-3)
    with pytest.raises(ValueError, match=r"off onnxruntime's by 0.001"):
        files.load_decoder(path)


def test_other_files_are_refused(tmp_path):
    torch.save({"a": torch.zeros(2)}, tmp_path / "weights.pt")
    for name, words in (("weights.pt", "is no TorchScript"), ("none.pt", "no file of a decoder")):
        with pytest.raises(ValueError, match=words):
            files.load_decoder(tmp_path / name)
    pytest.importorskip("onnx", reason="dgm[onnx] is not installed")
    (tmp_path / "text.onnx").write_text("no graph")
    with pytest.raises(ValueError, match="no ONNX file"):
        files.load_decoder(tmp_path / "text.onnx")
