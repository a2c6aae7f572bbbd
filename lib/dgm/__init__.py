"""Six papers on deep generative models: one paper, one chapter, one module."""

__version__ = "0.1.0"
