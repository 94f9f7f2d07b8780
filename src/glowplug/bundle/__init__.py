"""A function becomes an immutable, content-addressed bundle: code, environment, a pack and a manifest."""
