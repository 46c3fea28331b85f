"""What a refresh asks of a store is its bill: the number of requests, and of which kind."""

import pytest
from faulty_store import faulty_store
from lake_scorer import carry_out, expected_rows, plan_of, refresh, rows_of, write_file
