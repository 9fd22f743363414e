"""Which slots are due, in what order: pure decisions, no clock and no I/O."""
