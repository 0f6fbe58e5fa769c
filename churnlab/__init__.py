"""Tools of the course: export notebooks as scripts, run them, review their tables, check the machine."""
