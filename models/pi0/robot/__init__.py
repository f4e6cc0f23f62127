"""Between a robot and the network: its messages, its units, its words."""
