"""Make the models of the benchmarks: weights, records and samples, below $EDGEKIT_BENCH_DIR or benchmarks/.work.

python benchmarks/prepare.py sst2 resnet20      # prints each model's folder
python benchmarks/prepare.py real               # every model with real weights
"""

from __future__ import annotations

import argparse

from models.catalogue import CATALOGUE, names, prepare


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help=f"{', '.join(CATALOGUE)}; minilm, real, all")
    for name in names(",".join(parser.parse_args().models)):
        print(prepare(name))


if __name__ == "__main__":
    main()
