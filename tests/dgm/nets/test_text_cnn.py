"""The classifier: filters see what they should, dropout by generator."""

import torch
from checks import close
from draws import rng

from dgm.nets.text_cnn import TextCNN


def test_it_is_the_sum_written_out():
    torch.manual_seed(0)
    model, row = TextCNN(20, 6, 4).double(), torch.randint(1, 20, (7,), generator=rng())
    x, pooled = model.embedding(row), []
    for convolution in model.convolutions:
        width = convolution.kernel_size[0]
        windows = torch.stack([x[i : i + width].T for i in range(7 - width + 1)])
        answers = torch.einsum("nij,fij->nf", windows, convolution.weight) + convolution.bias
        pooled.append(torch.nn.functional.leaky_relu(answers).amax(0))
    expected = torch.cat(pooled) @ model.output.weight[0] + model.output.bias
    close(model(row[None], torch.tensor([7])), expected)
    assert [p.shape for p in pooled] == [(4,)] * 5
