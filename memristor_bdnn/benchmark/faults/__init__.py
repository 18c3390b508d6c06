"""A campaign of kills, parameters, requests and files against the installed package; every count must be zero."""
