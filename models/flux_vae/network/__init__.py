"""The autoencoder of FLUX: encoder and decoder of pictures."""
