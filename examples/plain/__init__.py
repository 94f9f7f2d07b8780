"""The same models without Glowplug: what a cold start is measured against.

One module a model, each with `build()`, `setup()` (a tokenizer, class names or None), `weights()` (a path or
a state dict) and `answer(model, tools, request)`.
"""
