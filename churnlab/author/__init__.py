"""What makes scripts, exercises and tables of the notebooks."""
