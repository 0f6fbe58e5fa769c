# Generated from the notebooks by `make export`; do not edit.
"""The library that the steps of the course share."""
