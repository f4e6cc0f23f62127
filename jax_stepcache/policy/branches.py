"""The mapped axis over guidance branches, where a policy decides for each."""

BRANCHES = "branches"
"""Its name, for signals that share one value and gates that have one for each."""
