"""What `make demo` deploys: the two real models, under another keep-alive."""

from __future__ import annotations

import classifier
import embedder
import glowplug

app = glowplug.App("demo")

app.model(weights=embedder.weights, libraries=["torch", "tokenizers"], keep_warm="3s")(embedder.Embedder)
app.model(
    weights=classifier.weights,
    libraries=["torch", "numpy"],
    include=["imagenet_classes.json"],
    keep_warm="3s",
)(classifier.Classifier)
