"""Where models are kept: a local folder, a folder at a URI, an MLflow registry; and the local copies of what is not here."""
