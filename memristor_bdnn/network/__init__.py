"""A Bayesian network whose weights are read currents: forward, gradients, ex situ training."""
