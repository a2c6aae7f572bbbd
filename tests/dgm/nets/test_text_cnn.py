"""The classifier: filters see what they should, dropout by generator."""

import pytest
import torch

from dgm.nets.text_cnn import TextCNN


@pytest.fixture
def model():
    torch.manual_seed(0)
    return TextCNN(20, 6, 4).double()


def row(n, seed=0):
    return torch.randint(1, 20, (n,), generator=torch.Generator().manual_seed(seed))


def test_it_is_the_sum_written_out(model):
    x = model.embedding(row(7))
    pooled = []
    for convolution in model.convolutions:
        width = convolution.kernel_size[0]
        windows = torch.stack([x[i : i + width].T for i in range(7 - width + 1)])
        answers = torch.einsum("nij,fij->nf", windows, convolution.weight) + convolution.bias
        pooled.append(torch.nn.functional.leaky_relu(answers).amax(0))
    expected = torch.cat(pooled) @ model.output.weight[0] + model.output.bias
    assert torch.allclose(model(row(7)[None], torch.tensor([7])), expected)
    assert [p.shape for p in pooled] == [(4,)] * 5
