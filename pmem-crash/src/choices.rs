//! In which order the states of one crash point are tried, and which ones if they are too many.

/// What may be lost or kept independently of the rest: a line, or the file's metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Number of its states; 0 keeps nothing.
    pub(crate) states: usize,
    /// The state that keeps everything.
    pub(crate) everything: usize,
}

/// How many states to try.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    /// All, if there are at most this many.
    pub(crate) bound: u64,
    /// Else this many random ones.
    pub(crate) samples: u64,
    /// Whether to try each part alone lost and alone kept before them.
    pub(crate) alone: bool,
}

/// The states to try: first nothing kept, then everything, then each part alone lost, and alone kept, for a
/// failure among these is the easiest to understand; then all there are, or samples. Some come twice.
pub(crate) struct Choices {
    parts: Vec<Part>,
    extent: Extent,
    /// Whether every state comes.
    pub(crate) complete: bool,
    step: u64,
    state: Vec<usize>,
    /// The state that the enumeration has come to.
    odometer: Vec<usize>,
}

impl Choices {
    pub(crate) fn new(parts: Vec<Part>, extent: Extent) -> Choices {
        let count = parts.iter().fold(1u64, |count, part| count.saturating_mul(part.states as u64));
        let zeros = vec![0; parts.len()];
        let complete = count <= extent.bound;
        let extent = Extent { samples: if complete { count } else { extent.samples }, ..extent };
        Choices { parts, extent, complete, step: 0, state: zeros.clone(), odometer: zeros }
    }

    fn alone(&self) -> u64 {
        if self.extent.alone { 2 * self.parts.len() as u64 } else { 0 }
    }

    /// How many states come, those that come twice included.
    pub(crate) fn len(&self) -> u64 {
        (2 + self.alone()).saturating_add(self.extent.samples)
    }

    /// The next state: of each part.
    pub(crate) fn next(&mut self, random: &mut fastrand::Rng) -> Option<&[usize]> {
        let (step, alone) = (self.step, self.alone());
        self.step += 1;
        if step >= self.len() {
            return None;
        }
        if step < 2 + alone {
            let keep = step % 2 == 1;
            for (index, (state, part)) in self.state.iter_mut().zip(&self.parts).enumerate() {
                let other = step >= 2 && index as u64 == (step - 2) / 2;
                *state = if keep != other { part.everything } else { 0 };
            }
        } else if self.complete {
            self.state.clone_from(&self.odometer);
            for (digit, part) in self.odometer.iter_mut().zip(&self.parts) {
                *digit = (*digit + 1) % part.states;
                if *digit != 0 {
                    break;
                }
            }
        } else {
            for (state, part) in self.state.iter_mut().zip(&self.parts) {
                *state = match random.u8(0..5) {
                    0 | 1 => 0,
                    2 | 3 => part.everything,
                    _ => random.usize(0..part.states),
                };
            }
        }
        Some(&self.state)
    }
}
