"""Active against passive learning on labelled trials."""
