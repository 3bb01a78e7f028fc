//! The whole of one list becomes a part of another.
//!
//! What a transaction has changed belongs to the object it was changed through, until the commit. So the nodes of a list that
//! this transaction has not touched are taken over as they are; those of another are copied.

use super::{
    ListGuard,
    change::Chain,
    node::{NEXT, PREV},
};
use crate::stored::{self, StoredBytes, align_of_form};
use pmem_alloc::{Error, Form, Result, Stored, Write};

/// Objects cannot be copied, so a list of objects that was changed by a transaction, or is of another one, cannot become a part
/// of another list.
#[derive(Debug, thiserror::Error)]
#[error(
    "the objects in a list go to another in a transaction that has not changed the list before: commit first"
)]
pub struct ListInUse;

impl<T: Stored> ListGuard<'_, T, Write> {
    /// Puts all nodes of `other` between two of this list's.
    pub(super) fn splice(&mut self, gap: (u64, u64), other: &mut ListGuard<'_, T, Write>) -> Result<()> {
        if other.is_empty() {
            return Ok(());
        }
        if self.body.may_take_over(&other.body) {
            return self.take_over(gap, other);
        }
        if matches!(T::FORM, Form::Object(_)) {
            return Err(Error::abort(ListInUse));
        }
        let copy = self.copy_of(other)?;
        self.link(gap, copy)?;
        other.free_all()
    }

    fn take_over(&mut self, gap: (u64, u64), other: &mut ListGuard<'_, T, Write>) -> Result<()> {
        let (first, last) = (other.header.first, other.header.last);
        self.node(first)?.behind(0)?;
        self.node(last)?.before(0)?;
        self.link(gap, Chain { first, last, len: other.header.len })?;
        (other.header.first, other.header.last, other.header.len) = (0, 0, 0);
        other.header.generation = other.header.generation.wrapping_add(1);
        other.store_header()
    }

    /// Copies all elements of another list to new nodes, which refer to each other and to nothing else. If one fails, all are freed.
    fn copy_of(&mut self, other: &ListGuard<'_, T, Write>) -> Result<Chain> {
        let mut chain = Chain { first: 0, last: 0, len: 0 };
        let mut copied = Ok(());
        for position in other.positions() {
            copied = position.and_then(|position| self.copy_node(other, position.node(), &mut chain));
            if copied.is_err() {
                break;
            }
        }
        if let Err(error) = copied {
            let mut at = chain.first;
            while at != 0 {
                let node = self.node(at)?;
                let (next, slot) = (node.links.next, StoredBytes::new(node.slot, 1));
                self.free_node(at, slot.as_slice())?;
                at = next;
            }
            return Err(error);
        }
        Ok(chain)
    }

    fn copy_node(&mut self, other: &ListGuard<'_, T, Write>, from: u64, chain: &mut Chain) -> Result<()> {
        let form = stored::bytes::<T, Write>(&other.body, Self::slot_at(from), other.node(from)?.slot)?;
        let form = StoredBytes::new(form, const { align_of_form::<T>() });
        let slot = stored::make::<T>(&mut self.body, form.as_slice())?;
        let at = match self.make_node(&slot) {
            Ok(at) => at,
            Err(error) => {
                stored::release::<T>(&mut self.body, self.at, &slot)?;
                return Err(error);
            }
        };
        match chain.last {
            0 => chain.first = at,
            last => {
                self.set_word(last + NEXT, at)?;
                self.set_word(at + PREV, last)?;
            }
        }
        (chain.last, chain.len) = (at, chain.len + 1);
        Ok(())
    }
}
