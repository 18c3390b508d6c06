"""Metropolis-Hastings on RRAM rows."""
