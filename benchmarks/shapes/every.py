"""Every shape and every growth, in the order in which they are measured: those of one Spark session together."""

from shapes import good, growths, memory, plans, rows, tables, texts
from shapes.shape import Growth, Shape

SHAPES: tuple[type[Shape], ...] = (
    tables.OneRowGroup,
    rows.RowHooks,
    tables.ManyColumns,
    plans.SlowStore,
    plans.Backfill,
    plans.ManyFiles,
    tables.TinyFiles,
    rows.VocabularyFile,
    rows.FewRowsOfVocabulary,
    rows.DeclaredVocabulary,
    tables.UnreadColumn,
    texts.TokenizerThreads,
    texts.LongTexts,
    texts.GiantTexts,
    plans.WideFiles,
    rows.BatchHooks,
    memory.WorkerMemory,
    good.SkewedFiles,
    good.KeptDocuments,
    good.NestedColumns,
    good.SelectiveWhere,
    good.Photos,
)
GROWTHS: tuple[type[Growth], ...] = (growths.Files, growths.Columns, growths.Partitions, growths.Tasks)
