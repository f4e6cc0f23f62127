"""What XLA makes of programs for a GPU that is not there."""
