//! [`PString`], and the guard on it.

use crate::{
    bytes::{BytesGuard, PBytes, Pieces},
    damage::corrupt,
    vec::VecSummary,
};
use pmem_alloc::{Body, Error, Form, Mode, Object, Ptr, Read, Result, Shape, Stored, Tracer, Types, Write};
use std::{
    borrow::Cow,
    fmt,
    iter::FusedIterator,
    ops::RangeBounds,
    str::{self, Utf8Error},
};

/// A string that grows. Open it for a [`StringGuard`].
///
/// It is in pieces of 1,016 bytes, which stay where they are: an append to a long text copies nothing that is there. (A value of type `String`
/// in a map, or a [`PBox`](crate::PBox) with one, is in one piece, and is stored anew when it gets longer.) So up to 1,016 bytes are read as a
/// `&str` in place, and longer ones by the piece, or copied together.
pub struct PString(());

impl Stored for PString {
    const FORM: Form = Form::object::<Self>();
    fn type_name() -> String {
        "PString".into()
    }
    fn describe(types: &mut Types) -> Shape {
        types.object("PString", |_| Vec::new())
    }
}

impl Object for PString {
    type Guard<'t, M: Mode> = StringGuard<'t, M>;

    fn create(body: &mut Body<'_, Write>) -> Result<Ptr<u8>> {
        PBytes::create(body)
    }

    fn attach<M: Mode>(body: Body<'_, M>, header: Ptr<u8>) -> Result<StringGuard<'_, M>> {
        PBytes::attach(body, header).map(|bytes| StringGuard { bytes })
    }

    fn destroy(body: &mut Body<'_, Write>, header: Ptr<u8>) -> Result<()> {
        PBytes::destroy(body, header)
    }

    fn trace(body: &Body<'_, Read>, header: Ptr<u8>, tracer: &mut Tracer<'_>) -> Result<()> {
        PBytes::trace(body, header, tracer)
    }
}

/// A [`PString`], during a transaction.
///
/// ```
/// # use pmem_collections::*; fn main() -> Result<()> {
/// # let pool = PoolOptions::new().create_on(Mapping::anonymous(1 << 20)?)?;
/// pool.write(|tx| {
///     let mut notes = tx.open::<PString>("notes")?;
///     notes.push_str("Größe")?;
///     notes.insert_str(0, "Die ")?;
///     notes.push('!')
/// })?;
/// let tx = pool.read()?;
/// let notes = tx.open::<PString>("notes")?;
/// assert!(notes == "Die Größe!");
/// assert_eq!(notes.as_str()?, "Die Größe!");
/// assert_eq!(notes.to_string(), "Die Größe!");
/// # Ok(()) }
/// ```
///
/// That it is UTF-8 is checked whenever it is read; bytes that are not are `Corrupt`, with their offset.
///
/// No operation drains: the transaction's commit does, once; twice, if more than 4 KiB of it is fresh.
///
/// # Panics
///
/// As in std, places beyond the end, or inside of a character, are mistakes of the program: [`insert_str`](StringGuard::insert_str),
/// [`replace_range`](StringGuard::replace_range) and [`truncate`](StringGuard::truncate) panic.
pub struct StringGuard<'t, M: Mode = Read> {
    bytes: BytesGuard<'t, M>,
}

/// Reading.
impl<M: Mode> StringGuard<'_, M> {
    /// Number of bytes. Costs nothing.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// All of it: zero-copy if it is in one piece, as up to 1,016 bytes are; else copied together.
    pub fn as_str(&self) -> Result<Cow<'_, str>> {
        match self.bytes.as_slice()? {
            Cow::Borrowed(bytes) => match str::from_utf8(bytes) {
                Ok(text) => Ok(Cow::Borrowed(text)),
                Err(why) => Err(self.invalid(0, why)),
            },
            Cow::Owned(bytes) => match String::from_utf8(bytes) {
                Ok(text) => Ok(Cow::Owned(text)),
                Err(why) => Err(self.invalid(0, why.utf8_error())),
            },
        }
    }

    /// All of it, in pieces: zero-copy, but for characters that are in two of them, which are pieces of their own. Yields `Result`s; an
    /// error is the last item.
    pub fn pieces(&self) -> TextPieces<'_, M> {
        TextPieces {
            text: self,
            pieces: self.bytes.pieces(),
            rest: &[],
            at: 0,
            begun: Vec::new(),
            done: false,
        }
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &BytesGuard<'_, M> {
        &self.bytes
    }

    /// Whether byte number `index` begins a character, or is the end.
    pub fn is_char_boundary(&self, index: usize) -> Result<bool> {
        match self.bytes.get(index)? {
            None => Ok(index == self.len()),
            Some(byte) => Ok(!is_continuation(byte)),
        }
    }

    /// Reads all of it and checks it, that it is UTF-8 too. `Corrupt` names the first that is wrong.
    pub fn check(&self) -> Result<VecSummary> {
        self.pieces().try_for_each(|piece| piece.map(drop))?;
        self.bytes.check()
    }

    /// The error for what begins with byte number `from`.
    #[cold]
    fn invalid(&self, from: usize, why: Utf8Error) -> Error {
        match self.bytes.offset(from + why.valid_up_to()) {
            Ok(offset) => corrupt(offset, "UTF-8", why.to_string()),
            Err(error) => error,
        }
    }

    #[track_caller]
    fn must_be_boundary(&self, index: usize) -> Result<()> {
        assert!(self.is_char_boundary(index)?, "byte {index} of {} begins no character", self.len());
        Ok(())
    }
}

fn is_continuation(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

/// Changing.
///
/// # Errors
///
/// All that make it longer: `NoSpace`, and nothing was changed.
impl StringGuard<'_, Write> {
    /// Appends a character.
    pub fn push(&mut self, character: char) -> Result<()> {
        self.push_str(character.encode_utf8(&mut [0; 4]))
    }

    /// Appends text.
    pub fn push_str(&mut self, text: &str) -> Result<()> {
        self.bytes.extend_from_slice(text.as_bytes())
    }

    /// Appends all parts.
    pub fn extend(&mut self, parts: impl IntoIterator<Item: AsRef<str>>) -> Result<()> {
        parts.into_iter().try_for_each(|part| self.push_str(part.as_ref()))
    }

    /// Makes it this text.
    pub fn set(&mut self, text: &str) -> Result<()> {
        self.bytes.set(text.as_bytes())
    }

    /// Puts text at byte number `at`, and moves what is from there on: the more there is, the more is logged.
    #[track_caller]
    pub fn insert_str(&mut self, at: usize, text: &str) -> Result<()> {
        self.replace_range(at..at, text)
    }

    /// Puts text in the place of the bytes in `range`; if it is not as long, what is behind is moved.
    #[track_caller]
    pub fn replace_range(&mut self, range: impl RangeBounds<usize>, text: &str) -> Result<()> {
        let range = self.bytes.must(range);
        let range = range.start as usize..range.end as usize;
        self.must_be_boundary(range.start)?;
        self.must_be_boundary(range.end)?;
        self.bytes.splice(range, text.as_bytes())
    }

    /// Removes the last character, and returns it.
    pub fn pop(&mut self) -> Result<Option<char>> {
        let mut last = [0; 4];
        let start = self.len().saturating_sub(4);
        let read = self.bytes.read_at(start, &mut last)?;
        let tail = &last[..read];
        let Some(first) = tail.iter().rposition(|byte| !is_continuation(*byte)) else {
            let found = format!("{tail:x?}");
            return if read == 0 {
                Ok(None)
            } else {
                Err(corrupt(self.bytes.offset(start)?, "UTF-8", found))
            };
        };
        let text = str::from_utf8(&tail[first..]).map_err(|why| self.invalid(start + first, why))?;
        let character = text.chars().next();
        self.bytes.truncate(start + first)?;
        Ok(character)
    }

    /// Removes what is from byte number `len` on. Nothing happens if there are not as many.
    #[track_caller]
    pub fn truncate(&mut self, len: usize) -> Result<()> {
        if len >= self.len() {
            return Ok(());
        }
        self.must_be_boundary(len)?;
        self.bytes.truncate(len)
    }

    /// Removes all of it and frees all pieces.
    pub fn clear(&mut self) -> Result<()> {
        self.bytes.clear()
    }
}

/// Iterator over a text by the piece. Yields `Result<Cow<str>>`, and nothing after an error.
pub struct TextPieces<'g, M: Mode> {
    text: &'g StringGuard<'g, M>,
    pieces: Pieces<'g, M>,
    /// What is left of a piece, and the number of its first byte.
    rest: &'g [u8],
    at: usize,
    /// The beginning of a character that goes on in `rest`.
    begun: Vec<u8>,
    done: bool,
}

impl<'g, M: Mode> TextPieces<'g, M> {
    fn piece(&mut self) -> Result<Option<Cow<'g, str>>> {
        loop {
            if self.rest.is_empty() {
                match self.pieces.next().transpose()? {
                    Some(piece) => self.rest = piece,
                    None if self.begun.is_empty() => return Ok(None),
                    None => return Err(self.torn()),
                }
            }
            if !self.begun.is_empty() {
                return self.character().map(Some);
            }
            match str::from_utf8(self.rest) {
                Ok(text) => return Ok(Some(Cow::Borrowed(self.take(text)))),
                Err(why) if why.error_len().is_some() => return Err(self.text.invalid(self.at, why)),
                Err(why) => {
                    let (valid, begun) = self.rest.split_at(why.valid_up_to());
                    self.begun = begun.to_vec();
                    let text = str::from_utf8(valid).map_err(|why| self.text.invalid(self.at, why))?;
                    self.at += self.rest.len();
                    self.rest = &[];
                    if !text.is_empty() {
                        return Ok(Some(Cow::Borrowed(text)));
                    }
                }
            }
        }
    }

    fn take(&mut self, text: &'g str) -> &'g str {
        self.at += text.len();
        self.rest = &[];
        text
    }

    /// The character of which some bytes are in the piece before.
    fn character(&mut self) -> Result<Cow<'g, str>> {
        let more =
            self.rest.iter().take_while(|byte| is_continuation(**byte)).count().min(4 - self.begun.len());
        let start = self.at - self.begun.len();
        let mut bytes = std::mem::take(&mut self.begun);
        bytes.extend_from_slice(&self.rest[..more]);
        self.rest = &self.rest[more..];
        self.at += more;
        String::from_utf8(bytes).map(Cow::Owned).map_err(|why| self.text.invalid(start, why.utf8_error()))
    }

    /// The text ends inside of a character.
    #[cold]
    fn torn(&self) -> Error {
        let found = format!("{:x?}, and the end", self.begun);
        match self.text.bytes.offset(self.at - self.begun.len()) {
            Ok(offset) => corrupt(offset, "UTF-8", found),
            Err(error) => error,
        }
    }
}

impl<'g, M: Mode> Iterator for TextPieces<'g, M> {
    type Item = Result<Cow<'g, str>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let piece = self.piece().transpose();
        self.done = !matches!(piece, Some(Ok(_)));
        piece
    }
}

impl<M: Mode> FusedIterator for TextPieces<'_, M> {}

/// Damaged text is equal to none.
impl<M: Mode> PartialEq<str> for StringGuard<'_, M> {
    fn eq(&self, other: &str) -> bool {
        self.bytes == *other.as_bytes()
    }
}

/// Damaged text is equal to none.
impl<M: Mode> PartialEq<&str> for StringGuard<'_, M> {
    fn eq(&self, other: &&str) -> bool {
        *self == **other
    }
}

/// The text; where damage ends it, the error stands for the rest.
impl<M: Mode> fmt::Display for StringGuard<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in self.pieces() {
            match piece {
                Ok(piece) => f.write_str(&piece)?,
                Err(error) => write!(f, "({error})")?,
            }
        }
        Ok(())
    }
}

/// As a string of std; where it is damaged, the error stands for it.
impl<M: Mode> fmt::Debug for StringGuard<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_str() {
            Ok(text) => text.fmt(f),
            Err(error) => f.debug_tuple("PString").field(&error).finish(),
        }
    }
}
