"""Typed filters from parsed ones: every literal is read as a value of the type that its field is compared as.

Logic is two-valued: a comparison with a missing, null or wrongly typed value is false, `!=` is the negation of `=`, and
NOT inverts its term.
"""

from collections.abc import Mapping
from dataclasses import replace

from ..relations import Relation
from .ast import (
    RECORD_ATTRIBUTES,
    STATES,
    And,
    Field,
    Filter,
    FilterError,
    Literal,
    LiteralKind,
    Not,
    Operator,
    Or,
    Path,
    Restriction,
)
from .conditions import (
    VALUE,
    AnyValue,
    Comparison,
    Condition,
    HasKey,
    Like,
    Mistyped,
    Present,
    RelatedCondition,
    StartsWith,
    ValueCondition,
)
from .related import RelatedFields
from .values import EXPECTED, FieldType, read_value


def with_types(
    tree: Filter[Restriction],
    declared: Mapping[Path, FieldType],
    attributes: Mapping[str, FieldType] = RECORD_ATTRIBUTES,
    related: RelatedFields | None = None,
) -> Filter[Condition]:
    """Return the filter with its literals parsed as the types of their fields.

    A declared field or a record attribute determines the type; for other fields the literal's syntax does. Raises
    FilterError if a field cannot be compared with its literal, or if an attribute is not among `attributes`. Fields of
    related records are those that `related` resolves.
    """
    if isinstance(tree, And):
        return And(tuple(with_types(term, declared, attributes, related) for term in tree.terms))
    if isinstance(tree, Or):
        return Or(tuple(with_types(term, declared, attributes, related) for term in tree.terms))
    if isinstance(tree, Not):
        return Not(with_types(tree.term, declared, attributes, related))
    resolved = related.resolve(tree.field) if related is not None else None
    if resolved is not None:
        return _related(tree, *resolved, attributes)
    type_ = type_of(tree.field, declared, attributes)
    negated = tree.operator is Operator.NE
    condition: Filter[Condition]
    if tree.field.of_record and tree.field.path == ("mistyped",):
        condition = _mistyped(tree, declared)
    elif tree.literal.kind is LiteralKind.NULL and not tree.lowered:
        if tree.operator not in (Operator.EQ, Operator.NE):
            raise FilterError("null can only be compared with = and !=", tree.literal.position)
        negated = not negated
        condition = Present(tree.field)
    elif tree.operator is Operator.HAS and not tree.field.of_record:
        condition = _has(tree, type_)
    else:
        condition = _condition(tree, tree.field, type_)
    return Not(condition) if negated else condition


def _related(
    restriction: Restriction,
    relations: tuple[Relation, ...],
    field: Field,
    declared: Mapping[Path, FieldType],
    attributes: Mapping[str, FieldType],
) -> Filter[Condition]:
    """Return the condition that some related record satisfies a restriction.

    Negations stay exact: `!=` is that no related record is equal, and `= null` that none has a value.
    """
    operator, literal = restriction.operator, restriction.literal
    is_negated = operator is Operator.NE
    if literal.kind is LiteralKind.NULL and not restriction.lowered and operator in (Operator.EQ, Operator.NE):
        is_negated = not is_negated
        literal = replace(literal, kind=LiteralKind.ANY, text="*")
        operator = Operator.HAS
    elif is_negated:
        operator = Operator.EQ
    own = replace(restriction, field=field, operator=operator, literal=literal)
    condition = RelatedCondition(relations, with_types(own, declared, attributes))
    return Not(condition) if is_negated else condition


def type_of(
    field: Field, declared: Mapping[Path, FieldType], attributes: Mapping[str, FieldType] = RECORD_ATTRIBUTES
) -> FieldType | None:
    """Return a field's type; None for an undeclared content field. Raises FilterError for an unknown attribute."""
    if not field.of_record:
        return declared.get(field.path)
    name = ".".join(field.path)
    if name not in attributes:
        known = ", ".join(f"record.{attribute}" for attribute in attributes)
        raise FilterError(
            f"a record has no attribute {name!r}; it has {known}; a content field is written content.record",
            field.position,
        )
    return attributes[name]


def _mistyped(restriction: Restriction, declared: Mapping[Path, FieldType]) -> Filter[Condition]:
    literal, operator = restriction.literal, restriction.operator
    mistyped = Mistyped(restriction.field, tuple(declared.items()))
    if literal.kind is LiteralKind.ANY and not restriction.lowered:  # the attribute is always present
        return Or((mistyped, Not(mistyped)))
    value = read_value(literal.text, FieldType.BOOLEAN)
    if (
        value is None
        or literal.parts
        or restriction.lowered
        or operator not in (Operator.EQ, Operator.NE, Operator.HAS)
    ):
        raise FilterError("record.mistyped can only be compared with true and false, by = and !=", literal.position)
    return mistyped if value else Not(mistyped)


def _has(restriction: Restriction, type_: FieldType | None) -> Filter[Condition]:
    """Return the condition for `:` on a content field: arrays on the path and at its end are expanded."""
    field, literal = restriction.field, restriction.literal
    if literal.kind is LiteralKind.ANY and not restriction.lowered:
        return AnyValue(field, Present(VALUE), opened=False) if len(field.path) > 1 else Present(field)
    condition = AnyValue(field, _condition(restriction, VALUE, type_), opened=True)
    if type_ is not None or literal.parts or restriction.lowered:
        return condition
    key: ValueCondition = HasKey(VALUE, literal.text)
    return Or((condition, AnyValue(field, key, opened=False) if len(field.path) > 1 else HasKey(field, literal.text)))


def _condition(restriction: Restriction, field: Field, type_: FieldType | None) -> ValueCondition:
    """Return the comparison for `field`: that of the restriction, or VALUE inside an AnyValue."""
    operator, literal, lowered = restriction.operator, restriction.literal, restriction.lowered
    indexed = type_ is not None and not field.of_record and field is not VALUE
    if lowered:
        _check_lowered(restriction, type_)
        type_ = FieldType.TEXT
    elif literal.kind is LiteralKind.ANY:
        return Present(field)
    if literal.parts:
        if type_ not in (None, FieldType.TEXT):
            raise FilterError(f"a star matches texts, but this field is a {type_}", literal.position)
        if lowered or literal.parts[1:] != ("",):
            return Like(field, literal.parts, lowered)
        return StartsWith(field, literal.parts[0], indexed)
    compared_type = type_ or _own_type(literal)
    if field.of_record and field.path == ("state",) and literal.text not in STATES:
        raise FilterError(f"a record's state is one of {', '.join(STATES)}", literal.position)
    value = read_value(literal.text, compared_type)
    if value is None:
        problem = f"the field is a {type_}" if type_ else "the number cannot be read"
        raise FilterError(f"{problem}: expected {EXPECTED[compared_type]}", literal.position)
    if operator in (Operator.NE, Operator.HAS):
        operator = Operator.EQ
    if isinstance(value, bool) and operator is not Operator.EQ:
        raise FilterError("true and false can only be compared with = and !=", literal.position)
    return Comparison(field, compared_type, operator, value, indexed and not lowered, lowered)


def _check_lowered(restriction: Restriction, type_: FieldType | None) -> None:
    literal = restriction.literal
    if type_ not in (None, FieldType.TEXT):
        raise FilterError(f"lower() takes a text, but this field is a {type_}", restriction.field.position)
    if restriction.field.of_record and restriction.field.path == ("state",):
        raise FilterError(
            "record.state is always in upper case: compare it without lower()", restriction.field.position
        )
    if literal.kind in (LiteralKind.ANY, LiteralKind.NULL):
        raise FilterError(
            "lower() can only be compared with a text; omit lower() to ask whether the field is present",
            literal.position,
        )


def _own_type(literal: Literal) -> FieldType:
    own = {LiteralKind.NUMBER: FieldType.NUMBER, LiteralKind.BOOLEAN: FieldType.BOOLEAN}
    return own.get(literal.kind, FieldType.TEXT)
