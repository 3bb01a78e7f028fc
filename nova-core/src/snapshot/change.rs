//! What is different between two moments of a volume.

use std::ops::Range;

/// One difference between an older and a newer tree of files.
///
/// Paths begin with `/`, and are of bytes. What is in a directory that was moved has moved with it, and is not named unless something of its own is different.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// In the newer tree; of what was removed, in the older one. A file with several names: the first of them, unless it is a name that is different.
    pub path: Vec<u8>,
    /// The inode number. Names of one file have the same.
    pub ino: u64,
    /// What is different.
    pub what: Changed,
}

/// What is different about a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// The name is gone.
    Removed,
    /// The file, and this name of it, is new.
    Added,
    /// A file that was there has one name more.
    Linked {
        /// A name that it had, in the older tree.
        existing: Vec<u8>,
    },
    /// The name is another, in this directory or in another one.
    Moved {
        /// In the older tree.
        from: Vec<u8>,
    },
    /// A file that was there has other content.
    Content {
        /// Bytes that it has now. Those behind the ones that it had are zeros, as far as no range says otherwise.
        size: u64,
        /// In order; none of them reaches behind `size`.
        ranges: Vec<ChangedRange>,
    },
    /// A file that was there has other attributes.
    Attributes(ChangedAttributes),
}

/// Bytes of a file that may be different: whole blocks, as far as the file goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedRange {
    /// Byte offsets.
    pub bytes: Range<u64>,
    /// Whether there is data now; otherwise they read as zeros.
    pub is_data: bool,
}

/// Attributes that are different. The times of reading, and of the last change of attributes, do not count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangedAttributes {
    /// Permissions.
    pub mode: bool,
    /// Owner, or group.
    pub owner: bool,
    /// Flags, as [`crate::flags`] has them.
    pub flags: bool,
    /// The time of the last change of the content.
    pub modified: bool,
    /// Names of extended attributes that are new, gone, or have another value.
    pub extended: Vec<Vec<u8>>,
}

impl ChangedAttributes {
    /// Whether anything is different.
    pub fn any(&self) -> bool {
        *self != ChangedAttributes::default()
    }
}

impl Changed {
    /// In which order changes can be made to the older tree: names go, names come, then what files have.
    pub(crate) fn turn(&self) -> u8 {
        match self {
            Changed::Removed => 0,
            Changed::Added | Changed::Linked { .. } | Changed::Moved { .. } => 1,
            Changed::Content { .. } => 2,
            Changed::Attributes(_) => 3,
        }
    }
}
