"""Examples; those that a command of the package runs are installed with it."""
