"""Names of tables in the validators of components."""

from cupola.schema.components import as_written, in_component, schema_of_component

NOTE = {"type": "id", "tableName": "notes"}
TREE = {
    "type": "object",
    "value": {
        "type": {"fieldType": {"type": "literal", "value": "id"}, "optional": False},
        "tableName": {"fieldType": {"type": "string"}, "optional": False},
        "after": {"fieldType": {"type": "array", "value": NOTE}, "optional": True},
        "file": {"fieldType": {"type": "id", "tableName": "_storage"}, "optional": True},
    },
}


def test_ids_are_those_of_the_component_and_come_back_as_written():
    inside = in_component(TREE, "box")
    assert inside["value"]["after"]["fieldType"]["value"]["tableName"] == "box//notes"
    assert inside["value"]["file"] == TREE["value"]["file"], "files are in one table"
    assert inside["value"]["type"] == TREE["value"]["type"]
    assert as_written(inside) == TREE
    assert in_component(TREE, "") is TREE


def test_jobs_of_components_are_in_a_table_of_their_own():
    job = {"type": "id", "tableName": "_scheduled_functions"}
    assert in_component(job, "box")["tableName"] == "_component_scheduled_functions"
    assert as_written(in_component(job, "box")) == job


def test_a_schema_is_shown_for_one_component():
    tables = [
        {"tableName": "notes", "documentType": NOTE},
        {"tableName": "box//notes", "documentType": in_component(NOTE, "box")},
    ]
    whole = {"tables": tables, "schemaValidation": True}
    shown = schema_of_component(whole, "box")
    assert shown["tables"] == [{"tableName": "notes", "documentType": NOTE}]
    assert schema_of_component(whole, "")["tables"] == tables[:1]
