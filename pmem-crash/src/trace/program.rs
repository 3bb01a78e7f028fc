//! Which code is this program's own.

use std::{ops::Range, sync::OnceLock};

/// Where the code of this program is, its shared libraries left out.
pub(super) fn text() -> &'static Range<usize> {
    static FOUND: OnceLock<Range<usize>> = OnceLock::new();
    FOUND.get_or_init(find)
}

fn find() -> Range<usize> {
    unsafe extern "C" fn first(
        info: *mut libc::dl_phdr_info,
        _: libc::size_t,
        found: *mut libc::c_void,
    ) -> i32 {
        // SAFETY: the C library hands out a valid description, and what `dl_iterate_phdr` was given below.
        unsafe {
            let (info, found) = (&*info, &mut *found.cast::<Range<usize>>());
            let headers = std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into());
            let code = |header: &&libc::Elf64_Phdr| {
                header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_X != 0
            };
            for header in headers.iter().filter(code) {
                let start = info.dlpi_addr as usize + header.p_vaddr as usize;
                *found = start..start + header.p_memsz as usize;
            }
        }
        1 // the first object is the program; no more
    }
    let mut found = 0..0;
    // SAFETY: the function has the signature that is asked for, and `found` is what it expects.
    unsafe { libc::dl_iterate_phdr(Some(first), (&raw mut found).cast()) };
    found
}
