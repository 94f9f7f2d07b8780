"""The embedder and BERT-base again, each spread over two worker processes and over four.

Nothing about the models changes but `workers=`: the layers are cut into ranges, each worker loads its own,
and what one computes goes to the next through shared memory. The answers are those of one worker, bit
for bit.
"""

from __future__ import annotations

import glowplug
from bert_base import BertBase
from bert_base import weights as bert_weights
from embedder import Embedder
from embedder import weights as minilm_weights

app = glowplug.App("spread")


@app.model(weights=minilm_weights, libraries=["torch", "tokenizers"], memory="256MB", workers=2)
class EmbedderOnTwo(Embedder):
    pass


@app.model(weights=minilm_weights, libraries=["torch", "tokenizers"], memory="256MB", workers=4)
class EmbedderOnFour(Embedder):
    pass


@app.model(weights=bert_weights, libraries=["torch"], memory="512MB", workers=2)
class BertOnTwo(BertBase):
    pass


@app.model(weights=bert_weights, libraries=["torch"], memory="512MB", workers=4)
class BertOnFour(BertBase):
    pass
