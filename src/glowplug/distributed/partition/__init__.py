"""Who owns which rows of each layer."""
