"""What step-runner does inside the Python processes of a notebook."""
