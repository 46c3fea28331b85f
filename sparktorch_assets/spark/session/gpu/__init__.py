"""GPUs that Spark schedules: how it finds them, and which share of one a task gets."""
