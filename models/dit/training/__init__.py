"""What the bundled model learns, and how well it has learned it."""
