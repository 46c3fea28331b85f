"""The Spark job of a refresh: shards on their way to workers, and receipts on their way back."""
