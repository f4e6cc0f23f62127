"""What a cache decides: a signal, a gate and a forecast around a span."""
