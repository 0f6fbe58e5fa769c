"""What runs notebooks, scripts and pages on this machine."""
