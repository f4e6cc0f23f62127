"""What the small DreamZeros of closed loops share, whatever world they act in."""
