//! What may be read from and written to a mapping as it is.

/// Types whose values are exactly their bytes: every byte initialised, and any bytes can be checked for
/// being a value. Implemented for all of `bytemuck`'s plain data, `bool`, `char`, and C-like enums that
/// derive `CheckedBitPattern`; never for types with padding, pointers or lifetimes.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not plain data, so it cannot live in persistent memory as it is",
    label = "not plain data",
    note = "a `#[repr(C)]` struct of plain fields without padding is plain data: \
            `#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]`",
    note = "with `bool`, `char` or enum fields: `#[derive(Clone, Copy, bytemuck::NoUninit, bytemuck::CheckedBitPattern)]`"
)]
pub trait Bytes: bytemuck::CheckedBitPattern + bytemuck::NoUninit {}
impl<T: bytemuck::CheckedBitPattern + bytemuck::NoUninit> Bytes for T {}
