"""A robot's own units: who it is, what its numbers span, and what the network sees."""
