//! Who may do what.

use crate::{
    Code, Credentials, Result,
    acl::Acl,
    attributes::SYSTEM,
    format::{Identity, flag},
    inode::State,
};

pub(crate) const READ: u32 = 4;
pub(crate) const WRITE: u32 = 2;
pub(crate) const EXECUTE: u32 = 1;

/// The key of an access control list.
pub(crate) fn acl_key(which: &str) -> (u8, Vec<u8>) {
    (SYSTEM, which.as_bytes().to_vec())
}

pub(crate) const ACCESS: &str = "posix_acl_access";
pub(crate) const DEFAULT: &str = "posix_acl_default";

/// Bits of a mode that who changes a file takes away: set-user-id, and set-group-id of what the group may execute.
pub(crate) fn set_id_bits(mode: u32) -> u32 {
    let group = if mode & 0o010 != 0 { libc::S_ISGID } else { 0 };
    mode & (libc::S_ISUID | group)
}

impl State {
    /// The list that an attribute has. The log was read, if there are attributes.
    ///
    /// What the mode says, too (the owner, the mask or else the group, others), the access list has from the mode: `chmod` writes only that.
    pub(crate) fn acl(&self, which: &str) -> Option<Acl> {
        if !self.has(flag::HAS_ATTRIBUTES) {
            return None;
        }
        let acl = Acl::decode(self.attributes.get(&acl_key(which))?).ok()?;
        Some(if which == ACCESS { acl.with_mode(self.identity.mode) } else { acl })
    }

    /// [`Code::NoAccess`] unless `who` may do all of `wanted`.
    pub(crate) fn permit(&self, who: &Credentials, wanted: u32) -> Result<()> {
        let Identity { mode, uid, gid, .. } = self.identity;
        let allowed = if who.is_privileged() {
            // Executing takes a file that anybody may execute.
            wanted & EXECUTE == 0 || self.is_directory() || mode & 0o111 != 0
        } else if let Some(acl) = self.acl(ACCESS) {
            acl.allows(uid, gid, who, wanted)
        } else {
            let bits = match who {
                _ if who.uid == uid => mode >> 6,
                _ if who.is_in(gid) => mode >> 3,
                _ => mode,
            };
            bits & wanted == wanted
        };
        if allowed { Ok(()) } else { Err(Code::NoAccess.into()) }
    }

    /// [`Code::NotPermitted`] unless `who` owns it, or is privileged.
    pub(crate) fn permit_owner(&self, who: &Credentials) -> Result<()> {
        if who.is_privileged() || who.uid == self.identity.uid {
            Ok(())
        } else {
            Err(Code::NotPermitted.into())
        }
    }

    /// Whether names of this directory may be removed: of `child`, by `who`.
    pub(crate) fn permit_removal(&self, child: &State, who: &Credentials) -> Result<()> {
        let sticky = self.identity.mode & libc::S_ISVTX != 0;
        let owns = who.is_privileged() || who.uid == child.identity.uid || who.uid == self.identity.uid;
        if sticky && !owns || child.has(flag::IMMUTABLE | flag::APPEND) {
            return Err(Code::NotPermitted.into());
        }
        Ok(())
    }

    /// [`Code::NotPermitted`] for what is immutable, and for what may only be appended to, unless `appending`.
    pub(crate) fn permit_change(&self, appending: bool) -> Result<()> {
        if self.has(flag::IMMUTABLE) || self.has(flag::APPEND) && !appending {
            return Err(Code::NotPermitted.into());
        }
        Ok(())
    }
}
