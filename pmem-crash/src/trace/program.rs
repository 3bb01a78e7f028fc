//! The loaded objects that this process is made of: the program itself, and the C library.

#![cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "nobody traces there"))]

use std::{ffi::CStr, ops::Range, sync::OnceLock};

/// A loaded object. Ranges are of addresses.
#[derive(Clone, Debug, Default)]
pub(super) struct Object {
    /// What is added to the addresses in its file.
    pub(super) base: usize,
    /// All its segments, and what is between them.
    pub(super) all: Range<usize>,
    /// The segment of its code.
    pub(super) text: Range<usize>,
    /// `.eh_frame_hdr`.
    pub(super) unwind_index: Option<Range<usize>>,
    /// From the start of `.eh_frame` to the end of its segment.
    pub(super) unwind_table: Option<Range<usize>>,
    /// It is never unloaded.
    pub(super) stays: bool,
}

/// The objects that are loaded when this is asked for the first time; the program comes first.
pub(super) fn objects() -> &'static [Object] {
    static FOUND: OnceLock<Vec<Object>> = OnceLock::new();
    FOUND.get_or_init(|| {
        let mut found = Vec::<Object>::new();
        // SAFETY: the function has the signature that is asked for, and `found` is what it expects.
        unsafe { libc::dl_iterate_phdr(Some(add), (&raw mut found).cast()) };
        found
    })
}

/// Whether an address is of this program's own code, its shared libraries left out.
pub(super) fn is_own(address: u64) -> bool {
    objects().first().is_some_and(|program| program.text.contains(&(address as usize)))
}

unsafe extern "C" fn add(info: *mut libc::dl_phdr_info, _: libc::size_t, found: *mut libc::c_void) -> i32 {
    // SAFETY: the C library hands out a valid description, and what `dl_iterate_phdr` was given above.
    unsafe {
        let (info, found) = (&*info, &mut *found.cast::<Vec<Object>>());
        let headers = std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into());
        let name = if info.dlpi_name.is_null() { c"" } else { CStr::from_ptr(info.dlpi_name) };
        let is_c_library = name.to_bytes().windows(8).any(|part| part == b"/libc.so");
        found.push(object(info.dlpi_addr as usize, headers, found.is_empty() || is_c_library));
    }
    0
}

/// # Safety
///
/// The program headers of an object that is loaded at `base`.
unsafe fn object(base: usize, headers: &[libc::Elf64_Phdr], stays: bool) -> Object {
    let range = |header: &libc::Elf64_Phdr| {
        let start = base + header.p_vaddr as usize;
        start..start + header.p_memsz as usize
    };
    let segments: Vec<_> = headers.iter().filter(|header| header.p_type == libc::PT_LOAD).collect();
    let code = segments.iter().find(|header| header.p_flags & libc::PF_X != 0);
    let index = headers.iter().find(|header| header.p_type == libc::PT_GNU_EH_FRAME).map(&range);
    let table = index.as_ref().and_then(|index| {
        // Version 1, then how the table's address is written: the distance from here, in 4 bytes, by every linker.
        // SAFETY: the start of a loaded segment.
        let (is_known, distance) = unsafe {
            let header = index.start as *const [u8; 4];
            (header.read()[..2] == [1, 0x1b], header.add(1).cast::<i32>().read_unaligned())
        };
        let at = (index.start + 4).wrapping_add_signed(distance as isize);
        let segment = segments.iter().map(|header| range(header)).find(|segment| segment.contains(&at));
        segment.filter(|_| is_known).map(|segment| at..segment.end)
    });
    Object {
        base,
        all: segments.iter().map(|header| range(header).start).min().unwrap_or(0)
            ..segments.iter().map(|header| range(header).end).max().unwrap_or(0),
        text: code.map_or(0..0, |header| range(header)),
        unwind_index: index,
        unwind_table: table,
        stays,
    }
}
