//! The counts that are kept, and what is said of new ones.

use crate::Failure;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, fs, path::Path};

/// Instructions of operations, by name.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// The compiler that they are of.
    pub(crate) rustc: String,
    /// What counted them.
    pub(crate) valgrind: String,
    /// Where: what a processor has decides which code some libraries choose, valgrind or not.
    pub(crate) processor: String,
    /// Of one operation, on average.
    pub(crate) instructions: BTreeMap<String, f64>,
}

impl Counts {
    pub(crate) fn read(file: &Path) -> Result<Counts, Failure> {
        let text =
            fs::read(file).map_err(|error| format!("{}: {error}; make it by --update", file.display()))?;
        serde_json::from_slice(&text)
            .map_err(|error| format!("{}: {error}; make it anew by --update", file.display()).into())
    }

    /// With one digit behind the point, so that a file changes where counts do.
    pub(crate) fn keep(mut self, file: &Path) -> Result<(), Failure> {
        self.instructions.values_mut().for_each(|count| *count = (*count * 10.0).round() / 10.0);
        Ok(fs::write(file, serde_json::to_string_pretty(&self)? + "\n")?)
    }
}

/// What is said of a count.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    /// Near the one that is kept: percent away.
    Same(f64),
    /// Percent away, which is too far.
    Away(f64),
    /// None is kept.
    New,
}

impl Verdict {
    pub(crate) fn of(counted: f64, kept: Option<f64>, tolerance: f64) -> Verdict {
        match kept.map(|kept| (counted - kept) / kept * 100.0) {
            None => Verdict::New,
            Some(percent) if percent.abs() <= tolerance => Verdict::Same(percent),
            Some(percent) => Verdict::Away(percent),
        }
    }

    pub(crate) fn is_good(&self) -> bool {
        matches!(self, Verdict::Same(_))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Same(percent) if percent.abs() < 0.005 => write!(f, "the same"),
            Verdict::Same(percent) => write!(f, "{percent:+.2}%"),
            Verdict::Away(percent) if *percent > 0.0 => write!(f, "{percent:+.2}%: SLOWER"),
            Verdict::Away(percent) => write!(f, "{percent:+.2}%: FASTER, and not kept"),
            Verdict::New => write!(f, "NOT KEPT"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_percent_in_either_direction_is_the_same_and_more_is_not() {
        for (counted, good) in [(97.0, true), (100.0, true), (103.0, true), (103.1, false), (96.9, false)] {
            assert_eq!(Verdict::of(counted, Some(100.0), 3.0).is_good(), good, "{counted}");
        }
        assert_eq!(Verdict::of(1.0, None, 3.0), Verdict::New);
        assert!(!Verdict::New.is_good());
        assert!(Verdict::of(110.0, Some(100.0), 3.0).to_string().contains("+10.00%: SLOWER"));
    }

    #[test]
    fn what_is_kept_is_read_again_and_what_is_no_such_file_says_what_to_do() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("kept.json");
        let counts = |count| Counts {
            rustc: "rustc 1.95.0".into(),
            valgrind: "valgrind-3.19.0".into(),
            processor: "one".into(),
            instructions: [("redo".to_owned(), count)].into(),
        };
        counts(812.34).keep(&file).expect("kept");
        assert_eq!(Counts::read(&file).expect("read"), counts(812.3));
        fs::write(&file, "{}").expect("written");
        assert!(Counts::read(&file).expect_err("no counts").to_string().contains("--update"));
        assert!(
            Counts::read(&folder.path().join("none")).expect_err("none").to_string().contains("--update")
        );
    }
}
