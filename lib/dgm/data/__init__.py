"""Data sets: where they come from, how they are checked, how training goes through them."""

from dgm.data.batches import minibatches as minibatches
