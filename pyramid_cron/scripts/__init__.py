"""What is run from a shell: ``pcron``."""
