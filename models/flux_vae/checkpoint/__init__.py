"""FLUX's autoencoder as others keep it."""
