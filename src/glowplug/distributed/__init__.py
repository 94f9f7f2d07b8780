"""One model over many workers that cannot talk directly."""
