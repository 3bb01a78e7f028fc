//! `FS_IOC_GETFLAGS` and `FS_IOC_SETFLAGS`, as `lsattr` and `chattr` use them.

use nova_core::flags;

pub(crate) const GET_FLAGS: u32 = 0x8008_6601;
pub(crate) const SET_FLAGS: u32 = 0x4008_6602;

/// Their numbers in `linux/fs.h`, and here.
const FLAGS: [(u32, u32); 4] = [
    (0x0000_0010, flags::IMMUTABLE),
    (0x0000_0020, flags::APPEND),
    (0x0000_0040, flags::NO_DUMP),
    (0x0000_0080, flags::NO_ATIME),
];

pub(crate) fn to_linux(own: u32) -> u32 {
    FLAGS.iter().filter(|(_, flag)| own & flag != 0).fold(0, |sum, (linux, _)| sum | linux)
}

/// The flags with those that Linux knows replaced; `None` for one that is not known here.
pub(crate) fn from_linux(linux: u32, before: u32) -> Option<u32> {
    let known = FLAGS.iter().fold(0, |sum, (flag, _)| sum | flag);
    if linux & !known != 0 {
        return None;
    }
    let ours = FLAGS.iter().fold(0, |sum, (_, flag)| sum | flag);
    let set = FLAGS.iter().filter(|(flag, _)| linux & flag != 0).fold(0, |sum, (_, own)| sum | own);
    Some(before & !ours | set)
}
