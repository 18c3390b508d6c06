"""One memristor: presets, read noise, single-pulse transitions, programming, faults, drift and wear.

Pure functions and frozen parameters; the cells that have a state live in :mod:`memristor_bdnn.crossbar`.
"""
