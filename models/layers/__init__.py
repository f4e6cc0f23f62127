"""What transformers are built from, each part in a file of its own.

`linear` has affine maps, `norms` normalisations, `modulation` those that a condition
scales and shifts; `attention`, `rotary` and `patches` what their names say;
`features` rows of
them beside tokens; `timesteps` sinusoids of a noise level; `stack` blocks that share
one program.
"""
