"""Tools of the course: export and run notebooks, review their tables, check the machine."""
