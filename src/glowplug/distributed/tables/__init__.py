"""Figures from the literature and from price lists, as files."""
