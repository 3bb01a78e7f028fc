//! Typed values in place.

use pmem_map::{Error, Mapping, PAGE, Ptr};

#[derive(Clone, Copy, Debug, PartialEq, bytemuck::NoUninit, bytemuck::CheckedBitPattern)]
#[repr(C)]
struct Flagged {
    count: u32,
    colour: Colour,
    set: bool,
    rest: [u8; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, bytemuck::NoUninit, bytemuck::CheckedBitPattern)]
#[repr(u8)]
enum Colour {
    Red = 1,
    Green = 2,
}

const VALUE: Flagged = Flagged { count: 7, colour: Colour::Green, set: true, rest: [1, 2] };

#[test]
fn a_value_is_read_where_it_was_written() {
    let mut mapping = Mapping::anonymous(PAGE).unwrap();
    for offset in [4, 64, PAGE - 8] {
        let ptr = Ptr::<Flagged>::from_offset(offset);
        mapping.write_value(ptr, &VALUE).unwrap();
        assert_eq!(*mapping.read(ptr).unwrap(), VALUE);
    }
}

#[test]
fn a_reference_that_cannot_be_followed_is_an_error_that_says_why() {
    let mut mapping = Mapping::anonymous(PAGE).unwrap();
    let at = Ptr::<Flagged>::from_offset;
    assert!(matches!(mapping.read(at(0)), Err(Error::Null)));
    assert!(matches!(mapping.read(at(PAGE - 4)), Err(Error::OutOfBounds { .. })));
    assert!(matches!(mapping.read(at(u64::MAX - 3)), Err(Error::OutOfBounds { .. })));
    assert!(matches!(mapping.read(at(6)), Err(Error::Misaligned { offset: 6, align: 4, .. })));
    assert!(matches!(mapping.read(at(8)), Err(Error::BadBits { offset: 8, .. })), "no colour is zero");
    assert!(matches!(mapping.write_value(at(0), &VALUE), Err(Error::Null)));
    assert!(matches!(mapping.write_value(at(PAGE), &VALUE), Err(Error::OutOfBounds { .. })));
    assert!(matches!(mapping.write_value(at(2), &VALUE), Err(Error::Misaligned { .. })));
    assert_eq!(mapping.as_slice(), vec![0; PAGE as usize]);
    let red = Flagged { colour: Colour::Red, ..VALUE };
    mapping.write_value(at(8), &red).unwrap();
    mapping.write(13, &[2]).unwrap();
    assert!(matches!(mapping.read(at(8)), Err(Error::BadBits { .. })), "no bool is two");
}
