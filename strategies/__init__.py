"""Recipes searched: what to score or probe next, decided from the history alone."""
