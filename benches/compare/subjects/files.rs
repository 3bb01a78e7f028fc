//! Files: a volume of `nova-core` in this process, and filesystems by system call.

use super::Place;
use crate::{
    compare::{
        Outcome,
        subject::{Shared, Threads},
    },
    systems::{Calls, Name, System, Volume, volume},
};
use fastrand::Rng;
use nova_core::Nova;
use pmem_map::Counters;

/// What is done with files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "their names")]
pub enum Operation {
    Create,
    Append,
    Overwrite,
    Read,
    Rename,
}

impl Operation {
    /// All of them.
    pub const ALL: [Operation; 5] =
        [Operation::Create, Operation::Append, Operation::Overwrite, Operation::Read, Operation::Rename];

    /// As tables call it.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Create => "create",
            Operation::Append => "append",
            Operation::Overwrite => "overwrite",
            Operation::Read => "read",
            Operation::Rename => "rename",
        }
    }

    /// What one operation is.
    pub fn description(self) -> &'static str {
        match self {
            Operation::Create => "an empty file, made",
            Operation::Append => "4 KiB at the end of a file",
            Operation::Overwrite => "a block of 4 KiB, overwritten",
            Operation::Read => "a block of 4 KiB, read",
            Operation::Rename => "a file given another name",
        }
    }
}

/// Bytes of the file that is read and written.
const DATA: u64 = 4 << 20;
const BLOCK: usize = 4096;

/// A filesystem under one kind of operation.
pub struct Files {
    operation: Operation,
    /// Of the volume, which counts what it flushes.
    nova: Option<Nova>,
}

/// A thread's directory, and how far it is.
pub struct Directory {
    system: Box<dyn System>,
    rng: Rng,
    names: Vec<(Name, Name)>,
    /// Files that are there, and how many of them have their other name.
    files: usize,
    renamed: usize,
    appended: u64,
}

fn directories(systems: Vec<Box<dyn System>>, seed: u64) -> Vec<Directory> {
    let directory = |(thread, system)| Directory {
        system,
        rng: Rng::with_seed(seed + thread),
        names: Vec::new(),
        files: 0,
        renamed: 0,
        appended: 0,
    };
    (0..).zip(systems).map(directory).collect()
}

/// A volume of `nova-core`, each thread in a directory of its own.
pub fn in_volume(operation: Operation, threads: u64, seed: u64) -> Outcome<Threads<Files>> {
    let nova = volume(Place::Memory.mapping(192 << 20)?);
    let systems = (0..threads)
        .map(|thread| Box::new(Volume::new(&nova, &format!("thread-{thread}"), DATA)) as Box<dyn System>);
    let directories = directories(systems.collect(), seed);
    Ok(Threads::new(Files { operation, nova: Some(nova) }, directories))
}

/// A folder in that place by system call; durable on return, or not.
pub fn by_call(
    operation: Operation,
    place: &Place,
    is_durable: bool,
    (threads, seed): (u64, u64),
) -> Outcome<Threads<Files>> {
    let make = if is_durable { Calls::durable } else { Calls::new };
    let systems = (0..threads).map(|_| Box::new(make(&place.folder(), DATA)) as Box<dyn System>);
    Ok(Threads::new(Files { operation, nova: None }, directories(systems.collect(), seed)))
}

impl Directory {
    fn remove_all(&mut self) {
        for (i, (name, other)) in self.names[..self.files].iter().enumerate() {
            self.system.unlink(if i < self.renamed { other } else { name });
        }
        (self.files, self.renamed) = (0, 0);
    }

    fn create(&mut self) {
        self.system.create(&self.names[self.files].0);
        self.files += 1;
    }
}

impl Shared for Files {
    type Local = Directory;

    fn prepare(&self, local: &mut Directory, operations: u64) -> Outcome<()> {
        for n in local.names.len()..operations as usize {
            local.names.push((Name::new(format!("file-{n:06}")), Name::new(format!("other-{n:06}"))));
        }
        match self.operation {
            Operation::Create => local.remove_all(),
            Operation::Rename => {
                local.remove_all();
                (0..operations).for_each(|_| local.create());
            }
            Operation::Append => {
                local.system.empty();
                local.appended = 0;
            }
            Operation::Overwrite | Operation::Read => {}
        }
        Ok(())
    }

    fn run(&self, local: &mut Directory, operations: u64) -> Outcome<()> {
        let mut bytes = [7; BLOCK];
        for _ in 0..operations {
            match self.operation {
                Operation::Create => local.create(),
                Operation::Rename => {
                    let (name, other) = &local.names[local.renamed];
                    local.system.rename(name, other);
                    local.renamed += 1;
                }
                Operation::Append => {
                    local.system.append(&bytes);
                    local.appended += bytes.len() as u64;
                }
                Operation::Overwrite | Operation::Read => {
                    let at = local.rng.u64(..DATA / BLOCK as u64) * BLOCK as u64;
                    if self.operation == Operation::Overwrite {
                        local.system.write(at, &bytes);
                    } else {
                        local.system.read(at, &mut bytes);
                        if bytes[BLOCK - 1] == 0 {
                            return Err("a block is not what was written".into());
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn counters(&self) -> Option<Counters> {
        self.nova.as_ref().map(Nova::counters)
    }

    fn verify(self, locals: Vec<Directory>) -> Outcome<()> {
        for mut local in locals {
            let (files, appended) = (local.system.readdir(), local.system.appended());
            if files != local.files || appended != local.appended {
                return Err(format!(
                    "{files} files and {appended} bytes, not {} and {}",
                    local.files, local.appended
                )
                .into());
            }
            local.remove_all();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::subject::Subject;

    #[test]
    fn every_operation_leaves_what_it_says_in_a_volume_and_by_call() {
        for operation in Operation::ALL {
            let by_call = by_call(operation, &Place::Memory, true, (2, 1)).unwrap();
            let subjects: [Box<dyn Subject>; 2] =
                [Box::new(in_volume(operation, 2, 1).unwrap()), Box::new(by_call)];
            for mut subject in subjects {
                for operations in [10, 4, 25] {
                    subject.prepare(operations).unwrap();
                    subject.batch(operations).unwrap();
                }
                subject.finish().unwrap();
            }
        }
    }
}
