"""Audits: whether what a run would publish may be published, decided from the receipts of its parts alone."""
