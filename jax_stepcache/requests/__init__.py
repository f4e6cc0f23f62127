"""Many requests through a fixed number of slots, in one compiled loop."""
