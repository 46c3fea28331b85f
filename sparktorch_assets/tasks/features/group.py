"""What most kinds of features have in common; a kind that differs overrides it."""


class FeatureGroup:
    """Columns that give `forward` one tensor, whatever a row holds."""

    __slots__ = ()

    argument: str | None

    @property
    def has_lengths(self) -> bool:
        """Whether rows differ in length."""
        return False

    @property
    def arguments_of_forward(self) -> tuple[str | None, ...]:
        """The names under which `forward` gets the group's tensors, in their order; `None` for one that it gets by
        position."""
        return (self.argument,)

    @property
    def files(self) -> tuple[str, ...]:
        """The files under the models root that the group reads. They are part of the model's digest."""
        return ()

    @property
    def left_out(self) -> str | None:
        """What only a Hugging Face folder can say and the group does not; `None` if it is complete."""
        return None

    def wrong_type(self, found: str) -> str | None:  # noqa: ARG002  (of the kinds that are particular about it)
        """What is wrong with a column of the type `found`, as `str(pyarrow.DataType)` gives it; `None` if it fits."""
        return None


class SingleColumn(FeatureGroup):
    """A group of one column."""

    __slots__ = ()

    column: str

    @property
    def columns(self) -> tuple[str, ...]:
        """The single column, as a tuple like every other group's."""
        return (self.column,)
