"""What transformers are built from, each part in a file of its own.

`linear` has affine maps, `norms` normalisations, `modulation` those that a condition
scales and shifts; `attention`, `rotary` and `patches` what their names say;
`features` shapes rows of features to stand beside tokens; `precision` is that of
statistics and velocities; `timesteps` has sinusoids of a noise level; `stack` blocks
that share one program.
"""
