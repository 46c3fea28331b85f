"""Delta logs: reads what a version lists, and commits the next one."""
