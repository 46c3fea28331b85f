"""A sensor that looks for new files, and runs the assets that read them."""
