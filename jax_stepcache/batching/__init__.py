"""Requests side by side: each decides for itself, and none waits for another."""
