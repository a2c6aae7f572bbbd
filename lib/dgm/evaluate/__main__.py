"""`python -m dgm.evaluate`, which torchrun can start."""

import sys

from dgm.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
