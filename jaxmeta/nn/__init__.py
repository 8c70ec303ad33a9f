"""Networks from spaces, the GRU, action distributions, normalisers, optimisers."""
