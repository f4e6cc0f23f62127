"""Meta-World, a benchmark of robots' tasks: a small DreamZero that learns four."""
