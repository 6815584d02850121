"""What others see: log lines, the runtime API and its tables."""
