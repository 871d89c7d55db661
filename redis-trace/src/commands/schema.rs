//! `redis-trace schema`: the JSON Schema of what is written with `-o json`.

use std::io::{self, Write as _};

use schemars::{Schema, schema_for};

use super::audit::Audit;
use super::doctor::Doctor;
use crate::cli::{Object, SchemaArgs};
use crate::failure::Exit;
use crate::trace::report::{Report, Summary, Update};

/// Prints the schema of the object.
pub fn run(args: &SchemaArgs) -> anyhow::Result<Exit> {
    let schema = serde_json::to_string_pretty(&schema(args.object))?;
    writeln!(io::stdout(), "{schema}")?;
    Ok(Exit::Fine)
}

/// The schema, made from the very structures that are written.
pub fn schema(object: Object) -> Schema {
    match object {
        Object::Refusal => schema_for!(Report),
        Object::Update => schema_for!(Update),
        Object::Summary => schema_for!(Summary),
        Object::Doctor => schema_for!(Doctor),
        Object::Audit => schema_for!(Audit),
    }
}
