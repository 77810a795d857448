"""python -m kernels.steer.bench: every case on the GPU at hand, as a share of its roofline."""

import sys

from kernels._bench import main
from kernels.steer.cases import CASES

if __name__ == "__main__":
    sys.exit(main(CASES))
