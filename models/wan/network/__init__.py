"""The transformer: tokens, blocks and head, as stages too.

Its parameters, in a nested dict of names with dots, Linear kernels (in, out), those of
blocks with a leading layer axis (or `Layers`): ``patch_embedding``,
``text_embedding.layer1/layer2``, ``time_embedding.layer1/layer2``, ``time_projection``
(``kernel``, ``bias`` each); with an image branch ``img_emb.norm_in``, ``.norm_out``
(``scale``, ``bias``), ``.mlp.layer1/layer2`` and perhaps ``.pos_embed`` (tokens,
image_dim); ``head.modulation`` (2, D) and ``head.proj``; and of a block
``blocks.modulation`` (6, D), ``blocks.self_attn.{q,k,v,o}``,
``blocks.self_attn.{norm_q,norm_k}.scale``, ``blocks.norm3`` (``scale``, ``bias``),
``blocks.cross_attn.{q,o}``, ``blocks.cross_attn.norm_q.scale``,
``blocks.cross_attn.{text,image}.{k,v}``, ``blocks.cross_attn.{text,image}.norm_k``
and ``blocks.ffn.layer1/layer2``. They are those that DreamZero's have.
"""
