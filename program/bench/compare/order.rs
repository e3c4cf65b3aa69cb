//! Who is measured when, so that nobody always follows the same one.

use std::hash::{BuildHasher, RandomState};

/// The turns of successive rounds: in each block of as many rounds as there are seats every seat has
/// every place once (a cyclic Latin square), and blocks are shuffled.
pub(super) struct Order {
    seats: Vec<usize>,
    shifts: Vec<usize>,
    random: u64,
}

impl Order {
    /// A random one.
    pub fn new(seats: usize) -> Order {
        // Each `RandomState` has keys of its own, which come from the system's random numbers.
        Order::seeded(seats, RandomState::new().hash_one(seats))
    }

    fn seeded(seats: usize, seed: u64) -> Order {
        Order { seats: (0..seats).collect(), shifts: Vec::new(), random: seed | 1 }
    }

    /// The turns of the next round.
    pub fn next_round(&mut self) -> Vec<usize> {
        if self.shifts.is_empty() {
            let mut seats = std::mem::take(&mut self.seats);
            self.shuffle(&mut seats);
            let mut shifts: Vec<usize> = (0..seats.len()).collect();
            self.shuffle(&mut shifts);
            (self.seats, self.shifts) = (seats, shifts);
        }
        let shift = self.shifts.pop().unwrap_or(0);
        let mut turns = self.seats.clone();
        turns.rotate_left(shift);
        turns
    }

    /// Fisher and Yates, with xorshift64 (Marsaglia).
    fn shuffle(&mut self, items: &mut [usize]) {
        for last in (1..items.len()).rev() {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            items.swap(last, (self.random % (last as u64 + 1)) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_a_block_of_rounds_everybody_has_every_place_once() {
        for seed in 0..20 {
            let mut order = Order::seeded(5, seed);
            for block in 0..3 {
                let rounds: Vec<_> = (0..5).map(|_| order.next_round()).collect();
                for at in 0..5 {
                    let mut place: Vec<_> = rounds.iter().map(|round| round[at]).collect();
                    let mut round = rounds[at].clone();
                    place.sort_unstable();
                    round.sort_unstable();
                    assert_eq!((place, round), ((0..5).collect(), (0..5).collect()), "{block}");
                }
            }
        }
    }

    #[test]
    fn orders_differ() {
        let first = |seed| Order::seeded(7, seed).next_round();
        let firsts: std::collections::BTreeSet<_> =
            (0..50).map(|seed| first(2 * seed + 1)).collect();
        assert!(firsts.len() > 30, "{}", firsts.len());
    }
}
