"""What sampling needs of the running process: budgets, whole traces, windows, and its books."""
