"""Metropolis-Hastings on memristor rows."""
