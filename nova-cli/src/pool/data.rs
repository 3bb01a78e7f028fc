//! What is in maps and sets: one value, many, all.

use super::{
    entries::{self, Known},
    info, look, open,
    scalar::Scalar,
};
use crate::{Failure, Outcome};
use clap::Args;
use pmem_alloc::{Named, ObjectReport, Pool, PoolOptions};
use serde_json::{Value, json};
use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

#[derive(Args)]
pub(crate) struct Get {
    /// The pool
    pool: PathBuf,
    /// The map or set
    object: String,
    /// Its key: a number, text, or bytes as 0x0102
    key: String,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct Put {
    /// The pool
    pool: PathBuf,
    /// The map or set
    object: String,
    /// The key: a number, text, or bytes as 0x0102
    key: String,
    /// The value; none for a set
    #[arg(default_value = "")]
    value: String,
}

#[derive(Args)]
pub(crate) struct Scan {
    /// The pool
    pool: PathBuf,
    /// The map or set
    object: String,
    /// From this key on (of what has an order)
    #[arg(long)]
    from: Option<String>,
    /// So many entries at most
    #[arg(long)]
    limit: Option<u64>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct Dump {
    /// The pool
    pool: PathBuf,
    /// One object alone
    object: Option<String>,
    /// So many entries of each at most
    #[arg(long)]
    limit: Option<u64>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// A map or set that was found by its name.
struct Target {
    name: String,
    schema: u32,
    known: Known,
    key: Scalar,
    value: Scalar,
    is_ordered: bool,
}

impl Target {
    fn of(object: &ObjectReport) -> Result<Target, Failure> {
        let known = entries::known(object)?;
        let (key, value) = (Scalar::named(&known.key), Scalar::named(&known.value));
        let is_ordered = object.descriptor.kind().is_some_and(|kind| kind.starts_with("PBTree"));
        Ok(Target { name: object.name.clone(), schema: object.schema, known, key, value, is_ordered })
    }

    fn find(pool: &Pool, path: &Path, name: &str) -> Result<Target, Failure> {
        let named = pool.check()?.named;
        match named.iter().find(|object| object.name == name) {
            Some(object) => Target::of(object),
            None => {
                let names: Vec<&str> = named.iter().map(|object| object.name.as_str()).collect();
                let there = if names.is_empty() { "none".into() } else { names.join(", ") };
                Err(format!("{} has no object {name:?}; it has: {there}", path.display()).into())
            }
        }
    }

    fn named(&self) -> Named<'_, ()> {
        Named::new(&self.name).schema(self.schema)
    }

    /// Shows every entry, in the container's order, from a key on if it has an order.
    fn visit(
        &self,
        pool: &Pool,
        limit: Option<u64>,
        mut show: impl FnMut(&[u8], &[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.known.mean();
        let (tx, mut left, mut failed) = (pool.read()?, limit.unwrap_or(u64::MAX), None);
        self.known.entries.visit(&tx, self.named(), &mut |key, value| {
            if left == 0 {
                return false;
            }
            left -= 1;
            show(key, value).inspect_err(|_| left = 0).map_err(|error| failed = Some(error)).is_ok()
        })?;
        failed.map_or(Ok(()), Err)
    }

    fn entry(&self, key: &[u8], value: &[u8]) -> Value {
        match self.value {
            Scalar::Unit => json!({"key": self.key.json(key)}),
            _ => json!({"key": self.key.json(key), "value": self.value.json(value)}),
        }
    }

    fn line(&self, out: &mut impl Write, key: &[u8], value: &[u8]) -> std::io::Result<()> {
        match self.value {
            Scalar::Unit => writeln!(out, "{}", self.key.show(key)),
            _ => writeln!(out, "{}\t{}", self.key.show(key), self.value.show(value)),
        }
    }
}

pub(super) fn get(args: &Get) -> Outcome {
    let pool = look(&args.pool)?;
    let target = Target::find(&pool, &args.pool, &args.object)?;
    let key = target.key.parse(&args.key)?;
    let found = if target.is_ordered && !target.key.is_ordered() {
        // Its order is the other program's: compared one by one.
        let mut found = None;
        target.visit(&pool, None, |one, value| {
            if one == key {
                found = Some(value.to_vec());
            }
            Ok(())
        })?;
        found
    } else {
        target.known.mean();
        target.known.entries.get(&pool.read()?, target.named(), &key)?
    };
    let Some(value) = found else {
        return Err(format!("{:?} has no key {}", args.object, args.key).into());
    };
    if args.json {
        println!("{:#}", target.entry(&key, &value));
    } else {
        println!("{}", target.value.show(&value));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn put(args: &Put) -> Outcome {
    let pool = open(&PoolOptions::new(), &args.pool)?;
    let target = Target::find(&pool, &args.pool, &args.object)?;
    let (key_type, value_type) = (&target.known.key, &target.known.value);
    let change =
        target.known.change.as_ref().filter(|_| target.key.is_ordered() && target.value != Scalar::Unknown);
    let Some(change) = change else {
        let why = "only numbers of 4 and 8 bytes, str and [u8] are written here (and values of one byte)";
        return Err(format!("{:?} has {key_type} to {value_type}: {why}", args.object).into());
    };
    let (key, value) = (target.key.parse(&args.key)?, target.value.parse(&args.value)?);
    target.known.mean();
    let was_there = pool.write(|tx| change.put(tx, target.named(), &key, &value))?;
    pool.close()?;
    println!("{} {}", if was_there { "replaced" } else { "added" }, target.key.show(&key));
    Ok(ExitCode::SUCCESS)
}

pub(super) fn scan(args: &Scan) -> Outcome {
    let pool = look(&args.pool)?;
    let target = Target::find(&pool, &args.pool, &args.object)?;
    let from = match &args.from {
        None => None,
        Some(_) if !target.is_ordered || !target.key.is_ordered() => {
            return Err(format!("{:?} has no order that is known here: leave --from out", args.object).into());
        }
        Some(from) => Some(target.key.parse(from)?),
    };
    let (mut out, mut entries) = (std::io::stdout().lock(), Vec::new());
    let mut show = |key: &[u8], value: &[u8]| {
        if args.json {
            entries.push(target.entry(key, value));
        } else {
            target.line(&mut out, key, value)?;
        }
        Ok(())
    };
    match from {
        None => target.visit(&pool, args.limit, show)?,
        Some(from) => {
            target.known.mean();
            let (tx, mut left) = (pool.read()?, args.limit.unwrap_or(u64::MAX));
            let mut failed: Result<(), Failure> = Ok(());
            target.known.entries.visit_from(&tx, target.named(), &from, &mut |key, value| {
                if left > 0 {
                    left -= 1;
                    failed = show(key, value);
                }
                left > 0 && failed.is_ok()
            })?;
            failed?;
        }
    }
    if args.json {
        println!("{:#}", json!(entries));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn dump(args: &Dump) -> Outcome {
    let pool = look(&args.pool)?;
    let report = info::checked(&pool)?;
    let wanted = |object: &&ObjectReport| args.object.as_ref().is_none_or(|name| *name == object.name);
    let objects: Vec<&ObjectReport> = report.named.iter().filter(wanted).collect();
    if let (Some(name), true) = (&args.object, objects.is_empty()) {
        return Err(format!("{} has no object {name:?}", args.pool.display()).into());
    }
    let (mut out, mut all) = (std::io::stdout().lock(), Vec::new());
    for object in objects {
        let ObjectReport { name, type_name, schema, bytes, .. } = object;
        let target = Target::of(object);
        if args.json {
            let mut entries = Vec::new();
            let why = match &target {
                Ok(target) => {
                    target.visit(&pool, args.limit, |key, value| {
                        entries.push(target.entry(key, value));
                        Ok(())
                    })?;
                    None
                }
                Err(why) => Some(why.to_string()),
            };
            all.push(json!({
                "name": name, "type": type_name, "schema": schema, "bytes": bytes, "types": types(object),
                "entries": why.is_none().then_some(entries), "not_shown": why,
            }));
            continue;
        }
        writeln!(out, "{name}: {type_name}, schema {schema}, {bytes} bytes")?;
        for line in types(object) {
            writeln!(out, "  type {line}")?;
        }
        match &target {
            Ok(target) => target.visit(&pool, args.limit, |key, value| {
                write!(out, "  ")?;
                Ok(target.line(&mut out, key, value)?)
            })?,
            Err(why) => writeln!(out, "  not shown: {why}")?,
        }
    }
    if args.json {
        println!("{:#}", json!(all));
    }
    Ok(ExitCode::SUCCESS)
}

/// The structs that an object has, with their fields.
fn types(object: &ObjectReport) -> Vec<String> {
    let all = object.descriptor.types();
    let fields = |info: &pmem_alloc::TypeInfo| match &info.shape {
        pmem_alloc::Shape::Plain { fields: Some(fields), .. } if !fields.is_empty() => {
            let one =
                |(field, at, of): &(String, u64, u32)| format!("{field}: {} @{at}", all[*of as usize].name);
            Some(format!("{} {{ {} }}", info.name, fields.iter().map(one).collect::<Vec<_>>().join(", ")))
        }
        _ => None,
    };
    all.iter().filter_map(fields).collect()
}
