"""The prediction table's schema, which is fixed before anything runs, even for an empty input. Does not need torch."""

import pyarrow as pa

from sparktorch_assets.arrow_types import arrow_type
from sparktorch_assets.tasks.ml_task import MlTask


def output_schema(task: MlTask, input_schema: pa.Schema) -> pa.Schema:
    """The kept input columns with their own types, followed by the columns that predicting adds. A dictionary-encoded
    column gets the type of its values.

    Raises:
        InputSchemaError: the input lacks a column, or has a column of the wrong type, one that would be overwritten, or
            two of the same name.
    """
    task.check_input((field.name, str(field.type)) for field in input_schema)
    kept = [_decoded(input_schema.field(name)) for name in task.kept_columns(input_schema.names)]
    added = [pa.field(column.name, arrow_type(column.type)) for column in task.output_columns]
    return pa.schema([*kept, *added])


def _decoded(field: pa.Field) -> pa.Field:
    field = field.remove_metadata()
    return field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field
