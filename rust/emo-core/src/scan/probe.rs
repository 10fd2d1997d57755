//! Chooses between mapped memory and positional reads by timing a few tiles of each.
//!
//! What is faster depends on the kernel, on how the page cache holds the file, and on the memory:
//! freshly written files map several times faster than they are read, others do not.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// How the bytes of one tile come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Mapped memory.
    Map,
    /// Positional reads.
    Read,
}

/// Tiles that are timed, half of them each way.
const TRIALS: u32 = 8;
const UNDECIDED: u32 = 0;

/// Times of the first tiles of a scan, and what follows from them.
#[derive(Debug)]
pub(super) struct Probe {
    picked: AtomicU32,
    reported: AtomicU32,
    /// Least picoseconds per byte of each way.
    best: [AtomicU64; 2],
    /// `UNDECIDED`, or one more than the way's number.
    decided: AtomicU32,
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            picked: AtomicU32::new(0),
            reported: AtomicU32::new(0),
            best: [AtomicU64::new(u64::MAX), AtomicU64::new(u64::MAX)],
            decided: AtomicU32::new(UNDECIDED),
        }
    }
}

impl Probe {
    /// No probe: always this way.
    pub(super) fn fixed(way: Way) -> Self {
        Self { decided: AtomicU32::new(way as u32 + 1), ..Self::default() }
    }

    /// The way of the next tile.
    pub(super) fn pick(&self) -> Way {
        let by_number = |number| if number == Way::Read as u32 { Way::Read } else { Way::Map };
        match self.decided.load(Ordering::Relaxed) {
            UNDECIDED => by_number(self.picked.fetch_add(1, Ordering::Relaxed) % 2),
            decided => by_number(decided - 1),
        }
    }

    /// The way of single reads: what is decided, mapping before that.
    pub(super) fn settled(&self) -> Way {
        if self.decided.load(Ordering::Relaxed) == Way::Read as u32 + 1 {
            Way::Read
        } else {
            Way::Map
        }
    }

    /// Count the time of a tile; decides once enough are known.
    ///
    /// Reading must be clearly faster to be chosen, as it needs a buffer.
    pub(super) fn report(&self, way: Way, bytes: usize, time: Duration) {
        if self.decided.load(Ordering::Relaxed) != UNDECIDED || bytes == 0 {
            return;
        }
        let cost = (time.as_nanos() * 1000 / bytes as u128) as u64;
        self.best[way as usize].fetch_min(cost, Ordering::Relaxed);
        if self.reported.fetch_add(1, Ordering::Relaxed) + 1 >= TRIALS {
            let [map, read] = [0, 1].map(|way: usize| self.best[way].load(Ordering::Relaxed));
            let way = if read < map - map / 4 { Way::Read } else { Way::Map };
            self.decided.store(way as u32 + 1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(map: u64, read: u64) -> Way {
        let probe = Probe::default();
        for _ in 0..TRIALS {
            let way = probe.pick();
            let nanos = if way == Way::Map { map } else { read };
            probe.report(way, 1000, Duration::from_nanos(nanos));
        }
        probe.pick()
    }

    #[test]
    fn the_faster_way_wins_and_mapping_wins_a_draw() {
        assert_eq!(decide(100, 200), Way::Map);
        assert_eq!(decide(100, 100), Way::Map);
        assert_eq!(decide(200, 100), Way::Read);
        assert_eq!(Probe::fixed(Way::Read).pick(), Way::Read);
    }
}
