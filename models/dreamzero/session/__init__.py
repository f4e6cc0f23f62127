"""What a robot's control loop remembers from one step to the next, and how."""
