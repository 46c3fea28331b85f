"""What an asset's page shows: numbers, pictures, lineage and rows."""
