//! POSIX access control lists, as `system.posix_acl_access` and `system.posix_acl_default` have them (POSIX.1e draft 17; the bytes are
//! those of Linux).

use crate::{Code, Credentials, Result};

const VERSION: u32 = 2;
const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// One entry: who, and what they may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    tag: u16,
    permissions: u16,
    id: u32,
}

/// A valid list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Acl(Vec<Entry>);

impl Acl {
    /// The list in an attribute's value; [`Code::Invalid`] if it is none.
    pub(crate) fn decode(value: &[u8]) -> Result<Acl> {
        let invalid = || Code::Invalid.into();
        let (version, rest) = value.split_at_checked(4).ok_or_else(invalid)?;
        if version != VERSION.to_le_bytes() || rest.len() % 8 != 0 {
            return Err(invalid());
        }
        let entry = |bytes: &[u8]| Entry {
            tag: u16::from_le_bytes([bytes[0], bytes[1]]),
            permissions: u16::from_le_bytes([bytes[2], bytes[3]]),
            id: u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
        };
        let entries: Vec<Entry> = rest.chunks_exact(8).map(entry).collect();
        let count = |tag| entries.iter().filter(|entry| entry.tag == tag).count();
        let named = count(USER) + count(GROUP);
        let known = named + count(USER_OBJ) + count(GROUP_OBJ) + count(MASK) + count(OTHER);
        let ordered = entries
            .windows(2)
            .all(|pair| pair[0].tag < pair[1].tag || pair[0].tag == pair[1].tag && pair[0].id < pair[1].id);
        let right = known == entries.len()
            && count(USER_OBJ) == 1
            && count(GROUP_OBJ) == 1
            && count(OTHER) == 1
            && count(MASK) <= 1
            && (named == 0 || count(MASK) == 1)
            && ordered
            && entries.iter().all(|entry| entry.permissions <= 7);
        if right { Ok(Acl(entries)) } else { Err(invalid()) }
    }

    /// Whether it is a list of no entries: setting it removes a list.
    pub(crate) fn is_empty(value: &[u8]) -> bool {
        value == VERSION.to_le_bytes()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = VERSION.to_le_bytes().to_vec();
        for Entry { tag, permissions, id } in &self.0 {
            bytes.extend_from_slice(&tag.to_le_bytes());
            bytes.extend_from_slice(&permissions.to_le_bytes());
            bytes.extend_from_slice(&id.to_le_bytes());
        }
        bytes
    }

    fn permissions(&self, tag: u16) -> Option<u32> {
        self.0.iter().find(|entry| entry.tag == tag).map(|entry| u32::from(entry.permissions))
    }

    /// Whether `who` may do all of `wanted` (4 read, 2 write, 1 execute) with a file of this owner and group.
    pub(crate) fn allows(&self, uid: u32, gid: u32, who: &Credentials, wanted: u32) -> bool {
        let mask = self.permissions(MASK).unwrap_or(7);
        if who.uid == uid {
            return self.permissions(USER_OBJ).unwrap_or(0) & wanted == wanted;
        }
        if let Some(entry) = self.0.iter().find(|entry| entry.tag == USER && entry.id == who.uid) {
            return u32::from(entry.permissions) & mask & wanted == wanted;
        }
        let mut is_member = false;
        for entry in &self.0 {
            let member = match entry.tag {
                GROUP_OBJ => who.is_in(gid),
                GROUP => who.is_in(entry.id),
                _ => false,
            };
            is_member |= member;
            if member && u32::from(entry.permissions) & mask & wanted == wanted {
                return true;
            }
        }
        !is_member && self.permissions(OTHER).unwrap_or(0) & wanted == wanted
    }

    /// The nine permission bits that stand for it. (The group's are the mask, if there is one.)
    pub(crate) fn mode(&self) -> u32 {
        let group = self.permissions(MASK).or(self.permissions(GROUP_OBJ)).unwrap_or(0);
        self.permissions(USER_OBJ).unwrap_or(0) << 6 | group << 3 | self.permissions(OTHER).unwrap_or(0)
    }

    /// Whether the nine bits say everything.
    pub(crate) fn is_minimal(&self) -> bool {
        self.0.len() == 3
    }

    /// After `chmod`.
    pub(crate) fn with_mode(&self, mode: u32) -> Acl {
        let group = if self.permissions(MASK).is_some() { MASK } else { GROUP_OBJ };
        let changed = |entry: &Entry| {
            let permissions = match entry.tag {
                USER_OBJ => mode >> 6,
                OTHER => mode,
                tag if tag == group => mode >> 3,
                _ => u32::from(entry.permissions),
            };
            Entry { permissions: permissions as u16 & 7, ..*entry }
        };
        Acl(self.0.iter().map(changed).collect())
    }

    /// What a new file gets from its directory's default list and the mode it is created with.
    pub(crate) fn inherited(&self, mode: u32) -> Acl {
        let wanted = self.with_mode(mode);
        let both = |(one, other): (&Entry, &Entry)| Entry {
            permissions: one.permissions & other.permissions,
            ..*one
        };
        Acl(self.0.iter().zip(&wanted.0).map(both).collect())
    }

    #[cfg(test)]
    fn of(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        Acl(entries.iter().map(|&(tag, permissions, id)| Entry { tag, permissions, id }).collect()).encode()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The id of entries that are nobody's in particular.
    const NO_ID: u32 = u32::MAX;

    #[test]
    fn lists_that_contradict_themselves_are_refused() {
        let good = [(USER_OBJ, 7, NO_ID), (GROUP_OBJ, 5, NO_ID), (OTHER, 1, NO_ID)];
        assert!(Acl::decode(&Acl::of(&good)).is_ok());
        for missing in 0..3 {
            let mut entries = good.to_vec();
            entries.remove(missing);
            assert!(Acl::decode(&Acl::of(&entries)).is_err());
        }
        let unmasked = [(USER_OBJ, 7, NO_ID), (USER, 7, 5), (GROUP_OBJ, 5, NO_ID), (OTHER, 1, NO_ID)];
        assert!(Acl::decode(&Acl::of(&unmasked)).is_err());
        assert!(Acl::decode(&[2, 0, 0]).is_err() && Acl::decode(&[1, 0, 0, 0]).is_err());
    }

    #[test]
    fn the_mask_bounds_named_users_and_groups_and_nobody_else() {
        let entries = [
            (USER_OBJ, 7, NO_ID),
            (USER, 7, 5),
            (GROUP_OBJ, 4, NO_ID),
            (GROUP, 6, 50),
            (MASK, 5, NO_ID),
            (OTHER, 1, NO_ID),
        ];
        let acl = Acl::decode(&Acl::of(&entries)).unwrap();
        let may = |uid, gid, wanted| acl.allows(1, 1, &Credentials::user(uid, gid), wanted);
        assert!(may(1, 9, 7), "the owner is not masked");
        assert!(may(5, 9, 5) && !may(5, 9, 2), "a named user is");
        assert!(may(9, 1, 4) && !may(9, 1, 1), "the owning group");
        assert!(may(9, 50, 4) && !may(9, 50, 2), "a named group");
        assert!(may(9, 9, 1) && !may(9, 9, 4), "others");
        assert_eq!(acl.mode(), 0o751);
        assert_eq!(acl.with_mode(0o640).mode(), 0o640);
        assert_eq!(acl.inherited(0o666).mode(), 0o640);
    }
}
