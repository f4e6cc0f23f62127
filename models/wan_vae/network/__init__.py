"""The network: causal convolutions whose memory is passed in and handed back."""
