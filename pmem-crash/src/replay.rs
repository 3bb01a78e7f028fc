//! Where one image is in an exploration, as text: to be explored alone.
//!
//! `NAME#2/3+0:1,4:0/2-` is, in the second exploration of that name in a test: at the third crash point everything kept,
//! but of part 0 the state 1 and of part 4 the state 0; then at the second crash point of the recovery, nothing kept.
//! `3k` is the process killed at the third crash point. Parts are the lines with stores that may be lost, in ascending
//! order, and last the file's metadata.

use crate::choices::Part;
use rustc_hash::FxHashMap;
use std::{cell::RefCell, fmt};

/// The variable that asks for one image.
pub(crate) const VARIABLE: &str = "PMEM_CRASH_IMAGE";

thread_local! {
    /// How many explorations of each name this thread began. (Each test has a thread.)
    static BEGUN: RefCell<FxHashMap<String, u32>> = RefCell::default();
}

/// What an exploration that begins now has to do.
pub(crate) struct Asked {
    /// Which of its name it is, from 1.
    pub(crate) ordinal: u32,
    /// The one image to try, if it was asked for.
    pub(crate) path: Option<Path>,
}

/// Reads the variable for the exploration of this name that begins now.
///
/// Panics if it names this exploration, and no image.
pub(crate) fn asked_for(name: &str) -> Asked {
    let ordinal = BEGUN.with_borrow_mut(|begun| {
        let count = begun.entry(name.to_owned()).or_default();
        *count += 1;
        *count
    });
    let asked = std::env::var(VARIABLE).unwrap_or_default();
    let path = asked
        .rsplit_once('#')
        .filter(|(of, _)| *of == name)
        .and_then(|(_, place)| place.split_once('/'))
        .filter(|(number, _)| number.parse() == Ok(ordinal))
        .map(|(_, path)| Path::parse(path).unwrap_or_else(|| panic!("{VARIABLE}={asked} names no image")));
    Asked { ordinal, path }
}

/// One failure after another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Path(Vec<Place>);

impl Path {
    fn parse(text: &str) -> Option<Path> {
        text.split('/').map(Place::parse).collect::<Option<Vec<Place>>>().map(Path)
    }

    pub(crate) fn push(&mut self, place: Place) {
        self.0.push(place);
    }

    /// How many failures.
    pub(crate) fn depth(&self) -> usize {
        self.0.len()
    }

    /// The failure after so many others.
    pub(crate) fn place(&self, depth: usize) -> Option<&Place> {
        self.0.get(depth)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, place) in self.0.iter().enumerate() {
            write!(f, "{}{place}", if index == 0 { "" } else { "/" })?;
        }
        Ok(())
    }
}

/// One failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    number: usize,
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Killed,
    /// Whether parts keep everything, or nothing, that are not among the others (number, state).
    Lost {
        kept: bool,
        others: Vec<(usize, usize)>,
    },
}

impl Place {
    pub(crate) fn new(number: usize, killed: bool, state: &[usize], parts: &[Part]) -> Place {
        if killed {
            return Place { number, what: What::Killed };
        }
        let others = |kept: bool| -> Vec<(usize, usize)> {
            let parts = state.iter().zip(parts).enumerate();
            parts
                .filter(|(_, (state, part))| **state != if kept { part.everything } else { 0 })
                .map(|(index, (state, _))| (index, *state))
                .collect()
        };
        let (lost, kept) = (others(false), others(true));
        let what = match lost.len() < kept.len() {
            true => What::Lost { kept: false, others: lost },
            false => What::Lost { kept: true, others: kept },
        };
        Place { number, what }
    }

    fn parse(text: &str) -> Option<Place> {
        let sign = text.find(['+', '-', 'k'])?;
        let number = text[..sign].parse().ok()?;
        let rest = &text[sign + 1..];
        let other = |text: &str| {
            let (part, state) = text.split_once(':')?;
            Some((part.parse().ok()?, state.parse().ok()?))
        };
        let what = match &text[sign..=sign] {
            "k" if rest.is_empty() => What::Killed,
            "k" => return None,
            kept => What::Lost {
                kept: kept == "+",
                others: rest.split(',').filter(|text| !text.is_empty()).map(other).collect::<Option<_>>()?,
            },
        };
        Some(Place { number, what })
    }

    /// Of the crash point.
    pub(crate) fn number(&self) -> usize {
        self.number
    }

    pub(crate) fn is_killed(&self) -> bool {
        self.what == What::Killed
    }

    /// The state of each part; what is not there, or has fewer states, keeps what the rest keeps.
    pub(crate) fn state(&self, parts: &[Part]) -> Vec<usize> {
        let (kept, others): (bool, &[(usize, usize)]) = match &self.what {
            What::Killed => (true, &[]),
            What::Lost { kept, others } => (*kept, others),
        };
        let mut state: Vec<usize> = parts.iter().map(|part| if kept { part.everything } else { 0 }).collect();
        for &(part, wanted) in others {
            if parts.get(part).is_some_and(|part| wanted < part.states) {
                state[part] = wanted;
            }
        }
        state
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Killed => write!(f, "{}k", self.number),
            What::Lost { kept, others } => {
                write!(f, "{}{}", self.number, if *kept { '+' } else { '-' })?;
                for (index, (part, state)) in others.iter().enumerate() {
                    write!(f, "{}{part}:{state}", if index == 0 { "" } else { "," })?;
                }
                Ok(())
            }
        }
    }
}

/// The shell command that runs this test with one image only, as far as the process can tell what it is.
pub(crate) fn command(exploration: &str, place: &str) -> String {
    let quoted = format!("{exploration}#{place}").replace('\'', r"'\''");
    let kept = ["PMEM_CRASH_SEED", "PMEM_CRASH_BOUND", "PMEM_CRASH_LONG", "PMEM_CRASH_LEVEL"];
    let kept = kept.iter().filter_map(|name| Some(format!("{name}={} ", std::env::var(name).ok()?)));
    let variables = format!("{}{VARIABLE}='{quoted}'", kept.collect::<String>());
    if let Some(example) = example() {
        return format!("{variables} cargo run --release --example {example}");
    }
    let mut command = format!("{variables} cargo test");
    if let Ok(package) = std::env::var("CARGO_PKG_NAME") {
        let target = target();
        let target = match target.as_deref() {
            Some(target) if target == package.replace('-', "_") => " --lib".to_owned(),
            Some(target) => format!(" --test {target}"),
            None => String::new(),
        };
        command += &format!(" -p {package}{target}");
    }
    if let Some(test) = std::thread::current().name().filter(|name| *name != "main") {
        command += &format!(" {test} -- --exact --nocapture");
    }
    command
}

/// The name of the example that this program is, if it is one.
fn example() -> Option<String> {
    let program = std::env::current_exe().ok()?;
    let is_example = program.parent()?.file_name()? == "examples";
    is_example.then(|| Some(program.file_stem()?.to_str()?.to_owned()))?
}

/// The name of the test's target: the program's, without the hash that cargo adds.
fn target() -> Option<String> {
    let program = std::env::current_exe().ok()?;
    let name = program.file_stem()?.to_str()?;
    let (target, hash) = name.rsplit_once('-')?;
    (hash.len() == 16).then(|| target.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_as_it_is_written() {
        for text in ["1+", "3-", "7k", "2+0:1,4:0/5-3:2", "7k/1+0:0/9-"] {
            assert_eq!(Path::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "x", "3", "3*", "3+1", "3+1:", "k", "3k1", "3+1:2/"] {
            assert_eq!(Path::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_state_is_written_by_what_differs_from_the_most() {
        let parts: Vec<Part> = (1..6).map(|states| Part { states, everything: states - 1 }).collect();
        for state in [[0, 0, 0, 0, 0], [0, 1, 2, 3, 4], [0, 1, 0, 2, 4], [0, 0, 0, 1, 0]] {
            let place = Place::new(4, false, &state, &parts);
            assert_eq!(Place::parse(&place.to_string()).unwrap().state(&parts), state, "{place}");
        }
        assert_eq!(Place::new(4, false, &[0, 1, 2, 2, 4], &parts).to_string(), "4+3:2");
        assert_eq!(
            Place::parse("4+9:1,3:77").unwrap().state(&parts),
            [0, 1, 2, 3, 4],
            "no such part or state"
        );
    }
}
