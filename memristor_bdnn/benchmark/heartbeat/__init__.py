"""Heartbeats told apart by Metropolis-Hastings on memristor rows, over all people of the database in turn."""
