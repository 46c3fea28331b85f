"""Delta logs: what a version lists, and the commit of the next one."""
