"""What the library asks of a network, and what a network is shown."""
