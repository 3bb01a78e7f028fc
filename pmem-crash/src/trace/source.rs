//! From an instruction's address to function, file and line: when somebody wants to read it, not before.

use super::{
    log::{CALLERS, Entry},
    program,
};
use std::{
    fmt,
    hash::{Hash, Hasher},
    path::{Path, PathBuf},
};

/// Code that stored: an instruction, and who called the function it is in.
///
/// Equal if it is the same instruction.
#[derive(Clone, Copy, Debug)]
pub struct Code {
    address: u64,
    callers: [u64; CALLERS],
}

impl PartialEq for Code {
    fn eq(&self, other: &Code) -> bool {
        self.address == other.address
    }
}

impl Eq for Code {}

impl Hash for Code {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.address.hash(state);
    }
}

/// A function that was running, and where it was.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Frame {
    /// The function's name.
    pub function: Option<String>,
    /// Its file, if the program has debug information.
    pub file: Option<PathBuf>,
    /// The line in it, from 1.
    pub line: Option<u32>,
    /// Whether it is in this program, rather than in a shared library.
    pub is_of_this_program: bool,
}

impl Frame {
    /// Whether it belongs neither to a library that is everybody's nor to this toolkit's lowest layer.
    fn is_own(&self) -> bool {
        let libraries = ["/rustc/", "/library/core/", "/library/alloc/", "/library/std/", "pmem-map/src/"];
        self.is_of_this_program
            && self.file.as_deref().is_some_and(|file| {
                let file = file.to_string_lossy();
                !libraries.iter().any(|library| file.contains(library))
            })
    }
}

impl Code {
    pub(crate) fn of(entry: &Entry) -> Code {
        Code { address: entry.address, callers: entry.callers }
    }

    /// Address of the instruction, in this process.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// The functions that were running, innermost first. Those that the compiler put into others are among them.  Of the callers, a
    /// few are known.
    ///
    /// Reads the program's debug information; the first time takes a while.
    pub fn frames(&self) -> Vec<Frame> {
        let mut frames = Vec::new();
        // A return address is behind its call, and so is looked up as the byte before it; an instruction's is its own.
        let addresses = [self.address + 1].into_iter().chain(self.callers);
        for address in addresses.filter(|address| *address != 0) {
            backtrace::resolve(address as *mut _, |symbol| {
                frames.push(Frame {
                    function: symbol.name().map(|name| format!("{name:#}")),
                    file: symbol.filename().map(Path::to_owned),
                    line: symbol.lineno(),
                    is_of_this_program: program::is_own(address),
                });
            });
        }
        frames
    }

    /// The innermost function that belongs neither to the standard libraries nor to `pmem-map`; the innermost of all, if
    /// none is known.
    pub fn frame(&self) -> Option<Frame> {
        let frames = self.frames();
        let own = frames.iter().find(|frame| frame.is_own());
        own.or_else(|| frames.iter().find(|frame| frame.file.is_some())).or(frames.first()).cloned()
    }
}

impl fmt::Display for Code {
    /// File, line and function.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(frame) = self.frame() else { return write!(f, "{:#x}", self.address) };
        match (&frame.file, frame.line) {
            (Some(file), Some(line)) => write!(f, "{}:{line}", shortened(file).display())?,
            _ => write!(f, "{:#x}", self.address)?,
        }
        match &frame.function {
            Some(function) => write!(f, " ({function})"),
            None => Ok(()),
        }
    }
}

/// Without the folder of the workspace: cargo runs tests in a package's folder, programs in any.
fn shortened(file: &Path) -> &Path {
    let Ok(here) = std::env::current_dir() else { return file };
    here.parent()
        .filter(|parent| parent.join("Cargo.toml").exists())
        .and_then(|parent| file.strip_prefix(parent).ok())
        .or_else(|| file.strip_prefix(&here).ok())
        .unwrap_or(file)
}
