//! Parity of a block: byte j is the exclusive or of byte j of each stripe. From it, any one byte of each column can be computed from the others:
//! a stripe that is lost, or damage of up to 512 bytes that straddles two stripes, which touches each column once.

use crate::{
    format::BLOCK,
    integrity::{STRIPE, STRIPES, sums},
};

pub(crate) type Stripe = [u8; STRIPE as usize];
pub(crate) type Block = [u8; BLOCK as usize];

/// The bytes of one stripe.
pub(crate) fn stripe(block: &Block, number: usize) -> &Stripe {
    let at = number * STRIPE as usize;
    block[at..at + STRIPE as usize].try_into().expect("a stripe")
}

pub(crate) fn stripe_mut(block: &mut Block, number: usize) -> &mut Stripe {
    let at = number * STRIPE as usize;
    (&mut block[at..at + STRIPE as usize]).try_into().expect("a stripe")
}

/// `into` xor `with`.
#[inline]
pub(crate) fn xor(into: &mut [u8], with: &[u8]) {
    for (into, with) in into.iter_mut().zip(with) {
        *into ^= with;
    }
}

/// The parity of a block.
pub(crate) fn of(block: &Block) -> Stripe {
    let mut parity = [0; STRIPE as usize];
    (0..STRIPES).for_each(|number| xor(&mut parity, stripe(block, number)));
    parity
}

/// What a stripe has to be, if parity and the other stripes are right.
fn reconstructed(block: &Block, parity: &Stripe, wanted: usize) -> Stripe {
    let mut bytes = *parity;
    (0..STRIPES).filter(|number| *number != wanted).for_each(|number| xor(&mut bytes, stripe(block, number)));
    bytes
}

/// Makes the stripes `wrong` right again, if parity can; `matches` says whether bytes are a stripe's. Nothing is changed if it cannot.
pub(crate) fn restore(
    block: &mut Block,
    parity: &Stripe,
    wrong: &[usize],
    matches: impl Fn(usize, &Stripe) -> bool,
) -> bool {
    match *wrong {
        [one] => {
            let bytes = reconstructed(block, parity, one);
            let right = matches(one, &bytes);
            if right {
                *stripe_mut(block, one) = bytes;
            }
            right
        }
        // From a byte of the one on, up to the byte before it of the next: tried wherever it could be (NOVA-Fortis: Xu et al., SOSP 2017).
        [one, next] if next == one + 1 => {
            let (upper, lower) = (*stripe(block, one), *stripe(block, next));
            // What both are wrong by, in each column: one of them is, or neither.
            let mut error = *parity;
            (0..STRIPES).for_each(|number| xor(&mut error, stripe(block, number)));
            let found = (0..=STRIPE as usize).find_map(|split| {
                let (mut upper, mut lower) = (upper, lower);
                xor(&mut upper[split..], &error[split..]);
                xor(&mut lower[..split], &error[..split]);
                (matches(one, &upper) && matches(next, &lower)).then_some((upper, lower))
            });
            if let Some((upper, lower)) = found {
                *stripe_mut(block, one) = upper;
                *stripe_mut(block, next) = lower;
            }
            found.is_some()
        }
        _ => false,
    }
}

/// The checksum of one stripe of a block.
pub(crate) fn sum_of(place: u32, block: &Block, number: usize) -> u32 {
    sums::sum(place, stripe(block, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scribble_of_up_to_a_stripe_is_undone_wherever_it_is() {
        let mut random = fastrand::Rng::with_seed(5);
        let mut block = [0; 4096];
        random.fill(&mut block);
        let (good, parity) = (block, of(&block));
        for round in 0..300 {
            let len = *random.choice(&[1, 8, 64, 511, 512]).unwrap();
            // Mostly where two stripes meet.
            let at = if round % 3 == 0 {
                random.usize(..4096 - len)
            } else {
                (random.usize(1..8) * 512 - random.usize(..=len)).min(4096 - len)
            };
            block[at..at + len].iter_mut().for_each(|byte| *byte ^= random.u8(1..));
            let wrong: Vec<usize> = (0..8).filter(|n| stripe(&block, *n) != stripe(&good, *n)).collect();
            assert!(restore(&mut block, &parity, &wrong, |n, bytes| bytes == stripe(&good, n)), "{at} {len}");
            assert_eq!(block, good);
        }
        // One byte more, and a column is hit twice.
        block[100..613].iter_mut().for_each(|byte| *byte ^= 1);
        let damaged = block;
        assert!(!restore(&mut block, &parity, &[0, 1], |n, bytes| bytes == stripe(&good, n)));
        assert_eq!(block, damaged);
    }
}
