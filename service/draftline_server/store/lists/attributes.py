"""The attributes of records and drafts, by the names that filters use."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, ColumnElement, DateTime, Text, case, cast, func, literal, literal_column, null, or_


def attributes_of_record(r: Any, record_id: ColumnElement[Any]) -> dict[str, ColumnElement[Any]]:
    """Return the attributes of a record without a draft."""
    return {
        "record_id": record_id,
        "version": r.version,
        "parent_id": r.parent_id,
        "position": r.position,
        "create_time": r.created_at,
        "created_by": r.created_by,
        "update_time": r.updated_at,
        "updated_by": r.updated_by,
        "delete_time": r.deleted_at,
        "state": literal("PRISTINE", Text()),
        "draft_version": cast(null(), BigInteger()),
        "modified_by": cast(null(), Text()),
        "modify_time": cast(null(), DateTime(timezone=True)),
        "session_id": cast(null(), Text()),
    }


def attributes_of_draft(d: Any, r: Any, record_id: ColumnElement[Any]) -> dict[str, ColumnElement[Any]]:
    """Return the attributes of a record with a draft; all columns of `r` are NULL if there is no record yet."""
    # A CREATE draft of a deleted record restores it: it is no longer deleted, and starts without attributes.
    is_kept = or_(d.kind != literal_column("'CREATE'"), r.deleted_at.is_(None))
    return {
        "record_id": record_id,
        "version": func.coalesce(r.version, 0, type_=BigInteger()),
        "parent_id": func.draftline.drafted_parent_id(d.attributes, case((is_kept, r.parent_id)), type_=Text()),
        "position": func.draftline.drafted_position(d.attributes, case((is_kept, r.position)), type_=BigInteger()),
        "create_time": func.coalesce(r.created_at, d.created_at),
        "created_by": func.coalesce(r.created_by, d.user_id),
        "update_time": func.coalesce(r.updated_at, d.updated_at),
        "updated_by": func.coalesce(r.updated_by, d.user_id),
        "delete_time": case((d.kind != literal_column("'CREATE'"), r.deleted_at)),
        "state": literal("DRAFT", Text()),
        "draft_version": d.version,
        "modified_by": d.user_id,
        "modify_time": d.updated_at,
        "session_id": func.nullif(d.session_id, "", type_=Text()),
    }


def attributes_of_either(d: Any, r: Any, record_id: ColumnElement[Any]) -> dict[str, ColumnElement[Any]]:
    """Return the attributes of a record with the draft `d`, all of whose columns are NULL if there is none."""
    drafted, own = attributes_of_draft(d, r, record_id), attributes_of_record(r, record_id)
    return {name: case((d.kind.is_(None), own[name]), else_=value) for name, value in drafted.items()}
