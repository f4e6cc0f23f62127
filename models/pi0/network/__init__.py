"""The network: its sizes, its parts, and the names of its weights' axes."""
