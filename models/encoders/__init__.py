"""UMT5, CLIP and the VAE together, as models of films have them around them."""
