"""DreamZero in a control loop: `pipeline` is called, `step` is what it returns."""
