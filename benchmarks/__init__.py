"""What the project's figures come from: `python -m benchmarks`, in a checkout."""
