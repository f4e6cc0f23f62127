"""What a run did, what it saved and what that cost."""
