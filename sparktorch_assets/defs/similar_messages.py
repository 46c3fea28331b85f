"""An asset that finds, for each text, the texts of its language whose vectors lie closest.

Shapes: N texts of a language, E components of a vector, K neighbours.
"""

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from sparktorch_assets import (
    LakeResource,
    data_version,
    preview_table,
    staleness_condition,
    table_metadata,
    table_version,
    write_if_changed,
)

EMBEDDINGS = dg.AssetKey(["predictions", "message_embedding"])
CODE_VERSION = "1"
NEIGHBOURS = 3
SHOWN = 8


@dg.asset(
    deps=[EMBEDDINGS],
    group_name="reports",
    kinds={"delta", "pyarrow"},
    code_version=CODE_VERSION,
    automation_condition=staleness_condition(),
    tags={"sparktorch/refresh": "daily"},
)
def similar_messages(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult[None]:
    """The three texts of the same language that are worded most similarly, for each of Django's interface texts."""
    source = lake.table_uri(EMBEDDINGS)
    found = nearest_texts(DeltaTable(source, storage_options=lake.delta_options()).to_pyarrow_table())
    uri = lake.table_uri(context.asset_key)
    made_from = f"{CODE_VERSION}-{data_version(source)}"
    changed = write_if_changed(uri, found, made_from)
    first = pc.list_element(found["neighbours"], 0)
    pairs = pa.table(
        {
            "text": found["text"],
            "nearest": pc.struct_field(first, "text"),
            "similarity": pc.struct_field(first, "similarity"),
        }
    ).sort_by([("similarity", "descending")])
    return dg.MaterializeResult(
        data_version=dg.DataVersion(made_from),
        metadata={
            "changed": changed,
            **table_metadata(uri, found.num_rows, found.schema, table_version(uri), {}),
            "median_similarity": float(np.median(pairs["similarity"])) if len(pairs) else 0.0,
            "most_similar": dg.MetadataValue.md(preview_table(pairs.slice(0, SHOWN).to_pylist()) or "none"),
        },
    )


def nearest_texts(embedded: pa.Table) -> pa.Table:
    """One row per different text of a language that has a vector, ordered by `message_id`, with its neighbours: a list of
    structs of `message_id`, `text` and `similarity` (the cosine), the most similar one first. Languages with a single
    text are left out."""
    embedded = embedded.filter(pc.is_valid(embedded["embedding"])).sort_by("message_id")
    languages = sorted(pc.unique(embedded["language"]).to_pylist())
    pieces = [_of_language(embedded.filter(pc.equal(embedded["language"], name))) for name in languages]
    columns = pa.schema(
        [("message_id", pa.int64()), ("language", pa.string()), ("text", pa.string()), ("neighbours", _NEIGHBOURS)]
    )
    found = pa.concat_tables([columns.empty_table(), *pieces]).sort_by("message_id")
    return found.filter(pc.greater(pc.list_value_length(found["neighbours"]), 0))


_NEIGHBOURS = pa.list_(pa.struct([("message_id", pa.int64()), ("text", pa.string()), ("similarity", pa.float32())]))


def _of_language(embedded: pa.Table) -> pa.Table:
    embedded = embedded.take(pa.array(_first_of_each(embedded["text"].to_pylist()), pa.int64()))
    vectors_NE = embedded["embedding"].combine_chunks().flatten().to_numpy().reshape(len(embedded), -1)
    similarity_NN = vectors_NE @ vectors_NE.T
    np.fill_diagonal(similarity_NN, -np.inf)
    count = min(NEIGHBOURS, len(embedded) - 1)
    nearest_NK = np.argsort(-similarity_NN, axis=1, kind="stable")[:, :count]
    flat = pa.array(nearest_NK.ravel())
    structs = pa.StructArray.from_arrays(
        [
            embedded["message_id"].combine_chunks().take(flat),
            embedded["text"].combine_chunks().take(flat),
            pa.array(np.take_along_axis(similarity_NN, nearest_NK, axis=1).ravel(), pa.float32()),
        ],
        fields=list(_NEIGHBOURS.value_type),
    )
    offsets = pa.array(np.arange(len(embedded) + 1) * count, pa.int32())
    neighbours = pa.ListArray.from_arrays(offsets, structs, type=_NEIGHBOURS)
    return embedded.select(["message_id", "language", "text"]).append_column("neighbours", neighbours)


def _first_of_each(texts: list[str]) -> list[int]:
    first: dict[str, int] = {}
    for row, text in enumerate(texts):
        first.setdefault(text, row)
    return list(first.values())
