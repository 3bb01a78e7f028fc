//! `FS_IOC_GETFLAGS` and `FS_IOC_SETFLAGS`, as `lsattr` and `chattr` use them, and `FS_IOC_FSGETXATTR` and
//! `FS_IOC_FSSETXATTR`, which number the same flags differently. (The kernel asks the third before it sends the second.)
//! [`LEASE`](pmem_map::lease::LEASE), by which a process maps a file in the image, is in `lending`.

use nova_core::flags;

pub(crate) const GET_FLAGS: u32 = 0x8008_6601;
pub(crate) const SET_FLAGS: u32 = 0x4008_6602;
pub(crate) const GET_FSXATTR: u32 = 0x801c_581f;
pub(crate) const SET_FSXATTR: u32 = 0x401c_5820;

/// Bytes of `struct fsxattr`: flags, then what is not known here (sizes of extents, a project).
pub(crate) const FSXATTR: usize = 28;

/// Flags as `linux/fs.h` numbers them, and as they are numbered here.
pub(crate) type Numbers = [(u32, u32); 4];

/// For `FS_IOC_GETFLAGS`.
pub(crate) const FLAGS: Numbers = [
    (0x0000_0010, flags::IMMUTABLE),
    (0x0000_0020, flags::APPEND),
    (0x0000_0040, flags::NO_DUMP),
    (0x0000_0080, flags::NO_ATIME),
];

/// For `FS_IOC_FSGETXATTR`.
pub(crate) const FSXATTR_FLAGS: Numbers = [
    (0x0000_0008, flags::IMMUTABLE),
    (0x0000_0010, flags::APPEND),
    (0x0000_0080, flags::NO_DUMP),
    (0x0000_0040, flags::NO_ATIME),
];

pub(crate) fn to_linux(numbers: &Numbers, own: u32) -> u32 {
    numbers.iter().filter(|(_, flag)| own & flag != 0).fold(0, |sum, (linux, _)| sum | linux)
}

/// The flags with those that Linux knows replaced; `None` for one that is not known here.
pub(crate) fn from_linux(numbers: &Numbers, linux: u32, before: u32) -> Option<u32> {
    let known = numbers.iter().fold(0, |sum, (flag, _)| sum | flag);
    if linux & !known != 0 {
        return None;
    }
    let ours = numbers.iter().fold(0, |sum, (_, flag)| sum | flag);
    let set = numbers.iter().filter(|(flag, _)| linux & flag != 0).fold(0, |sum, (_, own)| sum | own);
    Some(before & !ours | set)
}

/// What somebody wants set, from the bytes of `command`; `None` for what is not known here.
pub(crate) fn asked(command: u32, input: &[u8], before: u32) -> Option<u32> {
    let (flags, rest) = input.split_first_chunk::<4>()?;
    let linux = u32::from_le_bytes(*flags);
    match command {
        SET_FSXATTR if rest.iter().any(|byte| *byte != 0) => None,
        SET_FSXATTR => from_linux(&FSXATTR_FLAGS, linux, before),
        _ => from_linux(&FLAGS, linux, before),
    }
}
