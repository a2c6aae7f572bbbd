"""A flow-matching decoder of four steps on digits of 14 x 14 pixels, in a file of its own.

    python examples/flow_matching.py
    dgm-evaluate flow.pt digits.npy report --quick --betas 1 10 100

About a minute of training on one core. The code has 196 dimensions, as many as there are pixels.
"""

import numpy as np
import torch
from torch.nn.functional import avg_pool2d

from dgm.data import images, minibatches
from dgm.nets.flow_matching import FlowDecoder

STEPS, BATCH = 10_000, 256

x, test = (
    avg_pool2d(images.load("mnist", split).x.view(-1, 1, 28, 28), 2).flatten(1)
    for split in ("train", "test")
)
torch.manual_seed(0)
decoder = FlowDecoder(x.mean(0), (x - x.mean(0)).std(), hidden=(256, 256), n_steps=4)
optimizer = torch.optim.Adam(decoder.parameters(), lr=1e-3)
schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=STEPS)
picks, generator = minibatches(len(x), BATCH, seed=0), torch.Generator().manual_seed(0)
for i in range(STEPS):
    loss = decoder.loss(x[picks(i)], generator).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()
    if (i + 1) % 1000 == 0:
        print(f"step {i + 1}: loss {float(loss):.1f}", flush=True)
torch.jit.trace(decoder.eval(), torch.zeros(2, x.shape[1])).save("flow.pt")
np.save("digits.npy", test[:50].view(-1, 14, 14).numpy())
