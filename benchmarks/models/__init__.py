"""The models of the benchmarks: real weights with real labelled data, and shapes with random weights for speed."""
