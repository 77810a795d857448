"""python -m kernels.bitmask.bench: every case on the GPU at hand, as a share of its roofline."""

import sys

from kernels._bench import main
from kernels.bitmask.cases import CASES

if __name__ == "__main__":
    sys.exit(main(CASES))
