"""What `dg scaffold defs` writes for a model, or for source files."""
