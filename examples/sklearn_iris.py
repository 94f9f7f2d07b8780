"""Code that people already have: a class with `setup`, no torch, nothing that Glowplug must know about.

What `setup` makes stays in the function's zygote; every worker is forked with it in place.
"""

from __future__ import annotations

from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

import glowplug

app = glowplug.App("iris")


@app.model(libraries=["sklearn"], memory="512MB")
class Iris:
    def setup(self) -> None:
        flowers = load_iris()
        self.species = [str(name) for name in flowers.target_names]
        self.classifier = LogisticRegression(max_iter=500).fit(flowers.data, flowers.target)

    def example(self) -> dict[str, list[float]]:
        return {"measurements": [5.1, 3.5, 1.4, 0.2]}

    @glowplug.endpoint
    def species_of(self, measurements: list[float]) -> str:
        """Sepal length and width, petal length and width, in cm -> the species of iris."""
        return self.species[int(self.classifier.predict([measurements])[0])]
