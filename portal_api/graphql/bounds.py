"""What a GraphQL document may ask at most, found in one pass over it, before anything of it is validated or run.

Strawberry's own depth and alias limiters walk every path through the fragments, which are 2^n of n fragments that
name the next one twice (18 of them cost 0.8 s). Here every fragment is measured once.
"""

from dataclasses import dataclass

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    OperationDefinitionNode,
    SelectionSetNode,
)

from portal_api.graphql.refusals import QueryTooLarge, extensions

DEPTH_MAX = 8
ALIASES_MAX = 15
FIELDS_MAX = 500
TOKENS_MAX = 1_000
DOCUMENT_CHARACTERS_MAX = 20_000
# The introspection query that every tool sends: 13 levels deep, of types that are few.
INTROSPECTION_DEPTH_MAX = 16


@dataclass(frozen=True, slots=True)
class Size:
    """Of what a selection asks once its fragments are written out. Counts stop growing far above every limit."""

    depth: int = 0
    aliases: int = 0
    fields: int = 0

    def beside(self, other: "Size") -> "Size":
        aliases, fields = self.aliases + other.aliases, self.fields + other.fields
        return Size(max(self.depth, other.depth), min(aliases, 10**9), min(fields, 10**9))


class _Measure:
    def __init__(self, document: DocumentNode) -> None:
        self._fragments = {
            node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
        }
        self._known: dict[str, Size | None] = {}

    def of(self, selections: SelectionSetNode | None) -> Size:
        size = Size()
        for node in selections.selections if selections else ():
            if isinstance(node, FieldNode):
                below = self.of(node.selection_set)
                aliases = below.aliases + (node.alias is not None)
                # What introspection nests is bounded by the schema, not by our rows.
                own = Size(below.depth + 1, aliases, below.fields + 1)
                size = size.beside(own)
            elif isinstance(node, FragmentSpreadNode):
                size = size.beside(self._of_fragment(node.name.value))
            else:
                size = size.beside(self.of(getattr(node, "selection_set", None)))
        return size

    def _of_fragment(self, name: str) -> Size:
        """Each fragment once; one that leads to itself is left to validation, which refuses it."""
        if name in self._known:
            return self._known[name] or Size()
        self._known[name] = None
        fragment = self._fragments.get(name)
        size = self.of(fragment.selection_set) if fragment else Size()
        self._known[name] = size
        return size


def excesses(document: DocumentNode) -> list[GraphQLError]:
    """What of the document is beyond its bounds."""
    measure = _Measure(document)
    errors: list[GraphQLError] = []
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    sizes = [measure.of(node.selection_set) for node in operations]
    deepest = max((size.depth for size in sizes), default=0)
    depth_max = INTROSPECTION_DEPTH_MAX if all(map(_only_introspects, operations)) else DEPTH_MAX
    aliases = sum(size.aliases for size in sizes)
    fields = sum(size.fields for size in sizes)
    for what, found, most in (
        ("levels deep", deepest, depth_max),
        ("aliases", aliases, ALIASES_MAX),
        ("fields", fields, FIELDS_MAX),
    ):
        if found > most:
            said = str(found) if found < 10**6 else "far more"
            detail = f"the document asks for {said} {what}, {most} at most"
            errors.append(GraphQLError(detail, extensions=extensions(QueryTooLarge(detail))))
    return errors


def _only_introspects(operation: OperationDefinitionNode) -> bool:
    return all(
        isinstance(node, FieldNode) and node.name.value.startswith("__") for node in operation.selection_set.selections
    )
