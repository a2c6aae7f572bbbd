"""A rewriter with random weights and few words."""

import torch

from dgm import steering
from dgm.data.text import Vocabulary
from dgm.nets.copying import END, CopyingTransformer, Sizes
from dgm.nets.graded_reader import GradedReader
from dgm.steering import RewritingModel

TEXT = """the food was good bad great awful service and i is it not very n't but we loved hated
's slow friendly rude . , ! ? '' `` ( ) place staff in"""
WORDS = TEXT.split()
VOCABULARY = Vocabulary(WORDS, steering.SLOTS)


def random_model(reader=False, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sizes = len(VOCABULARY), VOCABULARY.first_word
        rewriter = CopyingTransformer(*sizes, Sizes(16, 2, 1, 2, 24, 5, 48), dropout=0.0)
        small = Sizes(width=12, heads=2, encoder_layers=1, inner=20)
        judge = GradedReader(len(VOCABULARY), small) if reader else None
        for parameter in rewriter.parameters():
            if parameter.ndim > 1:
                parameter.data.mul_(5)
    rewriter.bias.data[END] = 2.0
    return RewritingModel(VOCABULARY, "01234", rewriter, judge, **options).eval()
