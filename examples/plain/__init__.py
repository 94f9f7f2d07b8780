"""The same models without Glowplug: what the cold start is measured against. One module a model, of this form:

`LIBRARIES` to import beside torch, `build()`, `setup()` (a tokenizer or None), `weights() -> Path | state dict`, and
`answer(model, tools, request)`.
"""
