"""The transformer: its sizes, its parts, its weights."""
