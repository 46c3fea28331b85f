"""Sample networks: architectures only, named by the sample project's tasks."""
