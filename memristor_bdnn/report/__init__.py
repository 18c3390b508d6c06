"""Figures, animation and pages made from finished work; nothing here runs a trial for its label."""
