"""Figures, drawn from results."""
