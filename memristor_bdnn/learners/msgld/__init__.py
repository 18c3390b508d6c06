"""mSGLD, the source paper's in situ Bayesian learning."""
