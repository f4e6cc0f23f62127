"""Models that ship with the library; it loads them by name and knows none of them."""
