"""Declares a task: which model runs over which columns of which table, and what the prediction table holds.

Declaring a task imports neither torch, pyarrow nor the user's code. Everything is checked at construction, except what
needs the table (`check_input`) or the model.
"""

import re
import zoneinfo
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sparktorch_assets.errors import InputSchemaError, TaskError, nearest
from sparktorch_assets.tasks.audit_policy import AuditPolicy
from sparktorch_assets.tasks.batch_policy import BatchPolicy
from sparktorch_assets.tasks.challenger_of import ChallengerOf
from sparktorch_assets.tasks.column_names import clash, describe
from sparktorch_assets.tasks.execution import Execution
from sparktorch_assets.tasks.features import Feature
from sparktorch_assets.tasks.field_types import check_fields
from sparktorch_assets.tasks.hooks import Hooks
from sparktorch_assets.tasks.model_spec import ModelSpec
from sparktorch_assets.tasks.origin import check_origin
from sparktorch_assets.tasks.output_checks import WITH_LABELS, check_audit, check_generation, check_labels
from sparktorch_assets.tasks.outputs import COLUMN_TYPES, ClassificationOutput, GenerationOutput, Output, OutputColumn
from sparktorch_assets.tasks.partitions import Partitions, refuse_several
from sparktorch_assets.tasks.per_declaration import PerDeclaration
from sparktorch_assets.tasks.row_filter import RowFilter
from sparktorch_assets.tasks.row_test import row_tests
from sparktorch_assets.tasks.validation import ASSET_KEY, ASSET_NAME, freeze, names, share, texts


@dataclass(frozen=True, kw_only=True, slots=True, weakref_slot=True)
class MlTask:
    """A model, the columns that it reads, and the table of its predictions. Frozen, validated and cheap to create."""

    name: str
    """Lower-case letters, digits and `_`: it becomes the asset's and the table's name."""
    model: ModelSpec
    """The model: its weights file, and the code that builds the network."""
    features: Sequence[Feature]
    """Feature groups; each gives the model's `forward` its next argument, or a named one. May be empty for a factory's model object,
    which then sees every column, and for an MLflow model that is no network, which sees those of its signature."""
    labels: Sequence[str] = ()
    """The classes of a classification, or the labels of another output that has some, in the order of the model's
    logits. A Hugging Face folder knows them itself."""
    output: Output = field(default_factory=ClassificationOutput)
    """What the model predicts for a row. By default, one of the `labels`; for a Hugging Face folder, if there are no
    `labels` either, what the folder says."""
    input: str | None = None
    """The input table of the task's asset: another asset's key, `flights` or `predictions/language` for a chained task.
    Functions that are given rows or a table do not read it."""
    batch: BatchPolicy = field(default_factory=BatchPolicy)
    """How rows are cut into batches. By default, the fastest size is found on the first rows."""
    execution: Execution = field(default_factory=Execution)
    """The network's precision, and whether it is compiled. By default, it runs in fp32 as it is."""
    where: Sequence[RowFilter] = ()
    """Conditions on the input rows: only rows for which all of them hold are predicted."""
    keep_columns: Sequence[str] | None = None
    """The input columns that the prediction table keeps, in this order; `None` keeps all."""
    hooks: Hooks = field(default_factory=Hooks)
    """Your own code that changes or drops rows, before the model sees them or before they are written."""
    hook_columns: Mapping[str, str] | tuple[tuple[str, str], ...] = ()
    """Columns that hooks add, each with its type: `string`, `boolean`, `int`, `long`, `float`, `double`, `binary` or
    `list<float>`."""
    truth: str | None = None
    """The input column with what is true: the class of a classification, the list of labels of several, or the number of
    a regression. The asset's page then shows accuracy, calibration and confusions, or errors. It need not be kept; rows
    in which it is null are not compared."""
    output_prefix: str = ""
    """A prefix for the names of the columns that predicting adds (`hook_columns` excepted), for when one would collide
    with a kept column."""
    max_failed_share: float = 0.01
    """If more than this share of the rows fails, the run fails and the table stays as it was."""
    max_failed_rows: int | None = None
    """The same limit as a number of rows."""
    max_dropped_share: float = 0.5
    """If hooks drop more than this share of the rows, the run fails and the table stays as it was; 1 sets no limit."""
    audit: AuditPolicy = field(default_factory=AuditPolicy)
    """What else has to hold before predictions are published: drift, canaries, allowed models, your own checks."""
    preview_rows: int = 10
    """Number of rows shown in the asset's metadata; 0 keeps row contents out of Dagster."""
    code_version: str = ""
    """Change it to score everything again after a change that no fingerprint covers (a library that a hook calls)."""
    cron: str | None = None
    """This task's own refresh schedule, in cron's five fields; `None` leaves it to the daily schedule."""
    timezone: str = "UTC"
    """The time zone of `cron`, such as `Europe/Vienna`."""
    description: str = ""
    """What is predicted, and for whom: shown at the asset. Nothing is scored again when it changes."""
    challenger_of: ChallengerOf | None = None
    """The task that this one challenges. The asset `comparisons/<name>` then compares the predictions of both."""
    promoted: str | None = None
    """The name of a challenger that takes this task's place: its model, features, labels, output, filters, hooks and kept
    columns are used instead of those declared here. Its finished parts are taken over, so that nothing is scored."""
    partitions: Partitions | None = None
    """How the asset and its table are divided, so that parts of them are refreshed on their own. `None`: the asset is
    refreshed as a whole."""

    def __post_init__(self) -> None:
        refuse_several(self.partitions, "MlTask.partitions")
        check_fields(self)
        if not re.fullmatch(ASSET_NAME, self.name):
            raise TaskError(
                f"MlTask.name={self.name!r}; use lower-case letters, digits and _, beginning with a letter: it becomes "
                f"an asset key and a folder name"
            )
        where = f"MlTask {self.name!r}"
        if self.input is not None and not re.fullmatch(ASSET_KEY, self.input):
            raise TaskError(f"{where}: input={self.input!r} is not an asset key such as 'flights' or 'predictions/x'")
        if not self.features and self.model.factory is None and self.model.format != "mlflow":
            raise TaskError(f"{where}: features is empty; declare at least one group (numeric, categorical, text ...)")
        given_by_name = [name for feature in self.features for name in feature.arguments_of_forward if name is not None]
        names(given_by_name, f"{where}: the arguments of forward", empty=True)
        self._check_features(where)
        check_labels(self.labels, self.output, self.model, where)
        self._check_execution(where)
        check_origin(self.output, self.features, where)
        if isinstance(self.output, GenerationOutput):
            check_generation(self.output, self.model, self.execution, self.features, where)
        names(self.keep_columns or (), f"{where}: keep_columns", empty=True)
        object.__setattr__(self, "hook_columns", freeze(self.hook_columns, f"{where}: hook_columns"))
        for column, column_type in self.typed_hook_columns:
            if column_type not in COLUMN_TYPES:
                raise TaskError(
                    f"{where}: hook_columns gives {column!r} the type {column_type!r}; {nearest(column_type, COLUMN_TYPES)}"
                )
        if self.hook_columns and not (self.hooks.postprocesses or self.hooks.preprocesses):
            raise TaskError(f"{where}: hook_columns are declared, but there is no hook to fill them")
        names([column.name for column in self.output_columns], f"{where}: the added columns")
        for what, columns in (
            ("keep_columns names", self.keep_columns or ()),
            ("the added columns are", [column.name for column in self.output_columns]),
        ):
            pair = clash(columns)
            if pair:
                raise TaskError(f"{where}: {what} {describe(pair)}; a table cannot tell them apart. Rename or drop one")
        self._check_truth(where)
        self._check_limits(where)
        if (
            not self.output.labelled or self.labels or self.model.format not in WITH_LABELS
        ):  # else the folder has the say
            check_audit(self.audit, self.output, where)
        if self.cron is not None and len(self.cron.split()) != 5:
            raise TaskError(f"{where}: cron={self.cron!r} does not have cron's five fields, such as '0 3 * * *'")
        self._check_timezone(where)
        self._check_rivals(where)

    def _check_features(self, where: str) -> None:
        """Check that features leave out only what the model's folder says: see `tasks/files/completed_task.py`."""
        for feature in self.features:
            if feature.left_out is not None and self.model.format != "huggingface":
                raise TaskError(f"{where}: {feature.left_out}")

    def _check_truth(self, where: str) -> None:
        if self.truth is None:
            return
        names([self.truth], f"{where}: truth")
        if not self.output.takes_truth:
            raise TaskError(
                f"{where}: truth={self.truth!r} is a column with one class, list of labels or number per row, which "
                f"predictions of output {self.output.kind!r} as it is declared cannot be compared with; classification, "
                f"multilabel and a regression of a single number can. Leave truth out"
            )
        if self.truth in {column.name for column in self.output_columns}:
            raise TaskError(f"{where}: truth={self.truth!r} is a column that the task adds; name one of the input")

    def _check_execution(self, where: str) -> None:
        default = Execution()
        for name in ("precision", "compile", "channels_last"):
            if self.model.compiled and getattr(self.execution, name) != getattr(default, name):
                raise TaskError(
                    f"{where}: execution.{name}={getattr(self.execution, name)!r} changes networks of torch, but "
                    f"{self.model.weights} is of format {self.model.format!r}, whose precision and kernels were fixed when it "
                    f"was made; leave it out, and export the network in the precision that you want"
                )

    def _check_timezone(self, where: str) -> None:
        try:
            zoneinfo.ZoneInfo(self.timezone)
        except (KeyError, ValueError, OSError):  # unknown, not a relative path, a folder of zones such as Europe
            choices = zoneinfo.available_timezones()
            raise TaskError(
                f"{where}: timezone={self.timezone!r} is no time zone; {nearest(self.timezone, choices)}"
            ) from None
        if self.cron is None and self.timezone != "UTC":
            raise TaskError(
                f"{where}: timezone={self.timezone!r} is the time zone of `cron`, which is not set. The time zone of "
                f"the daily schedule is set by runtime_definitions(timezone=...)"
            )

    def _check_rivals(self, where: str) -> None:
        if self.promoted is not None and (self.promoted == self.name or not re.fullmatch(ASSET_NAME, self.promoted)):
            raise TaskError(f"{where}: promoted={self.promoted!r} is not the name of another task")
        challenge = self.challenger_of
        if challenge is None:
            return
        if challenge.task == self.name:
            raise TaskError(f"{where}: challenger_of names the task itself; name the champion that it is compared with")
        if self.output.incomparable:
            raise TaskError(
                f"{where}: predictions of output {self.output.kind!r} cannot be compared by challenger_of: "
                f"{self.output.incomparable}. Leave it out, and write an asset of your own over both tables"
            )
        for column in challenge.join_on:
            if self.keep_columns is not None and column not in self.keep_columns:
                raise TaskError(
                    f"{where}: challenger_of joins on {column!r}, which keep_columns leaves out; add it there"
                )

    def _check_limits(self, where: str) -> None:
        for limit in ("max_failed_share", "max_dropped_share"):
            share(getattr(self, limit), f"{where}: {limit}")
        for count in ("max_failed_rows", "preview_rows"):
            if (getattr(self, count) or 0) < 0:
                raise TaskError(f"{where}: {count}={getattr(self, count)!r} must not be below 0")

    @property
    def typed_hook_columns(self) -> tuple[tuple[str, str], ...]:
        """`hook_columns` in their frozen form: pairs of name and type."""
        assert isinstance(self.hook_columns, tuple)
        return self.hook_columns

    @property
    def feature_columns(self) -> tuple[str, ...]:
        """The columns that the encoders read, without repetition, in order of first use."""
        return tuple(dict.fromkeys(column for feature in self.features for column in feature.columns))

    @property
    def files(self) -> tuple[str, ...]:
        """The files and folders under the models root that the task names, the weights first."""
        listed = (*((self.model.weights,) if self.model.weights else ()), *self.model.files)
        of_features = (path for feature in self.features for path in feature.files)
        return tuple(dict.fromkeys(map(str, (*listed, *of_features))))

    @property
    def argument_texts(self) -> tuple[str, ...]:
        """All strings and paths in the arguments of the model and the encoders. Any of them may name a file or a
        module."""
        return _argument_texts(self)

    @property
    def all_arguments(self) -> tuple[Any, ...]:
        """The arguments of the model, then those of each custom encoder, in their frozen form."""
        return self.model.arguments, *(feature.arguments for feature in self.features if feature.kind == "custom")

    @property
    def error_column(self) -> str:
        """The name of the column that says why a row failed; null if it did not."""
        return f"{self.output_prefix}prediction_error"

    @property
    def output_columns(self) -> tuple[OutputColumn, ...]:
        """The columns that are added to the kept ones, in order."""
        return (
            *map(self._prefixed, self.output.main_columns),
            OutputColumn(name=self.error_column, type="string"),
            *map(self._prefixed, self.output.optional_columns),
            *(OutputColumn(name=name, type=column_type) for name, column_type in self.typed_hook_columns),
        )

    @property
    def main_columns(self) -> tuple[str, ...]:
        """The names of the columns that the output always has, which receipts count."""
        return tuple(self._prefixed(column).name for column in self.output.main_columns)

    def _prefixed(self, column: OutputColumn) -> OutputColumn:
        return replace(column, name=f"{self.output_prefix}{column.name}")

    def kept_columns(self, input_columns: Sequence[str]) -> tuple[str, ...]:
        """The input's columns that the prediction table keeps, in order."""
        return tuple(input_columns) if self.keep_columns is None else tuple(self.keep_columns)

    def read_columns(self, input_columns: Sequence[str]) -> tuple[str, ...]:
        """The columns to read from the input: those that are kept, and those of features and filters. If there is a
        preprocessor, it may look at any column, so all are read."""
        if self.hooks.preprocesses or not self.features:
            return tuple(input_columns)
        wanted = {*self.kept_columns(input_columns), *self.feature_columns, *(test.column for test in self.where)}
        wanted |= {self.truth} if self.truth is not None else set()
        return tuple(column for column in input_columns if column in wanted)

    def check_input(self, columns: Mapping[str, str] | Iterable[tuple[str, str]]) -> None:
        """Check the input table's columns before any row is read.

        Args:
            columns: the table's columns in order, with their types as `str(pyarrow.DataType)` gives them.

        Raises:
            InputSchemaError: a column is missing, has a type that its feature or filter cannot use, or would be
                overwritten; or the names of two columns differ only in case.
        """
        where = f"task {self.name!r}" + (f" on input {self.input!r}" if self.input else "")
        pairs = tuple(columns.items() if isinstance(columns, Mapping) else columns)
        twins = clash(name for name, _ in pairs)
        if twins:
            raise InputSchemaError(
                f"{where}: the input has columns {describe(twins)}; a table cannot tell them apart. Rename or drop one"
            )
        column_types = dict(pairs)
        made_by_hook = self.hooks.preprocesses
        needed = [(column, "keep_columns") for column in self.kept_columns(tuple(column_types))]
        needed += [] if made_by_hook else [(column, "features") for column in self.feature_columns]
        needed += [] if made_by_hook or self.truth is None else [(self.truth, "truth")]
        needed += [(column, "challenger_of") for column in (self.challenger_of.join_on if self.challenger_of else ())]
        for column, role in needed:
            if column not in column_types:
                raise InputSchemaError(f"{where}: {role} needs column {column!r}; {nearest(column, column_types)}")
        row_tests(self.where, column_types, where)
        if not made_by_hook:
            self._check_feature_types(column_types, where)
        problem = self._wrong_truth(column_types)
        if problem is not None:
            raise InputSchemaError(f"{where}: {problem}")
        kept = {column.lower(): column for column in self.kept_columns(tuple(column_types))}
        added = {
            column.name: kept[column.name.lower()] for column in self.output_columns if column.name.lower() in kept
        }
        if added:
            named = [repr(old) if old == new else f"{old!r} ({new!r})" for new, old in added.items()]
            raise InputSchemaError(
                f"{where}: the input already has {', '.join(named)}, which the predictions would overwrite; "
                f"set output_prefix (for instance {self.name + '_'!r}), or leave the column out of keep_columns"
            )

    def _wrong_truth(self, column_types: Mapping[str, str]) -> str | None:
        found = None if self.truth is None else column_types.get(self.truth)
        expected = None if found is None or found == "null" else self.output.wrong_truth(found)
        return expected and f"truth {self.truth!r} has type {found}; {expected}"

    def _check_feature_types(self, column_types: Mapping[str, str], where: str) -> None:
        for feature in self.features:
            for column in feature.columns:
                found = column_types[column]
                # The inferred type of a column of dicts, or of a frame, in which all values are missing: they fail, or are filled.
                problem = None if found == "null" else feature.wrong_type(found)
                if problem is not None:
                    raise InputSchemaError(f"{where}: {feature.kind} feature {column!r} has type {found}; {problem}")

    def with_hooks(self, **hooks: Any) -> "MlTask":
        """This task with some hooks replaced (`None` keeps the task's own)."""
        given = {name: hook for name, hook in hooks.items() if hook is not None}
        return replace(self, hooks=replace(self.hooks, **given)) if given else self

    def check_failures(self, failed_rows: int, rows: int, reasons: Mapping[str, int]) -> str | None:
        """A message if more rows failed than the task allows, with the most frequent reasons; else `None`. What follows
        from it is left to the caller to say."""
        share = failed_rows / rows if rows else 0.0
        over_share = share > self.max_failed_share
        over_rows = self.max_failed_rows is not None and failed_rows > self.max_failed_rows
        if not over_share and not over_rows:
            return None
        limit = (
            f"max_failed_share={self.max_failed_share:g}" if over_share else f"max_failed_rows={self.max_failed_rows}"
        )
        most = sorted(reasons.items(), key=lambda item: -item[1])[:5]
        listed = "; ".join(f"{count:,} x {reason}" for reason, count in most)
        return (
            f"task {self.name!r}: {failed_rows:,} of {rows:,} rows failed ({share:.2%}), over {limit}. Most frequent "
            f"reasons: {listed}"
        )

    def check_drops(self, dropped_rows: int, rows: int) -> str | None:
        """A message if hooks dropped more rows than the task allows; else `None`."""
        share = dropped_rows / rows if rows else 0.0
        if share <= self.max_dropped_share:
            return None
        return (
            f"task {self.name!r}: the hooks dropped {dropped_rows:,} of {rows:,} rows ({share:.2%}), over "
            f"max_dropped_share={self.max_dropped_share:g}. Did the hook forget to return the row? A row hook that returns "
            f"None drops its row, and so does a batch hook that leaves the row out. Nothing was committed; return the "
            f"rows, or raise max_dropped_share if this many are to be dropped"
        )


@PerDeclaration
def _argument_texts(task: MlTask) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for given in task.all_arguments for text in texts(given)))
