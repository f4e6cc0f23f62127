"""The denoise loop: one `lax.while_loop`, one `lax.cond`, one call of the network."""
