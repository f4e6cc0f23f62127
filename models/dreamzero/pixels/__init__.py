"""From what a robot sends to what the transformer takes, and from latents to film."""
