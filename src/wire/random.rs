//! Reproducible random numbers: the same for the same seed, on every machine.

/// SplitMix64 (Steele, Lea and Flood, 2014): one multiplication chain a number, every state good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Random {
    state: u64,
}

/// From one state to the next: 2^64 divided by the golden ratio, made odd.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Random {
    /// The numbers that begin at `seed`.
    pub fn new(seed: u64) -> Random {
        Random { state: seed }
    }

    /// The next 64 bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(STEP);
        mixed(self.state)
    }

    /// Number `index` of the sequence that begins at `seed`, without the ones before it.
    #[inline]
    pub fn at(seed: u64, index: u64) -> u64 {
        mixed(seed.wrapping_add(index.wrapping_add(1).wrapping_mul(STEP)))
    }

    /// Number `index` of the sequence, brought down to `0..end`, each about equally often; 0 for an
    /// `end` of 0.
    #[inline]
    pub fn below(seed: u64, index: u64, end: u64) -> u64 {
        ((u128::from(Random::at(seed, index)) * u128::from(end)) >> 64) as u64
    }
}

#[inline]
fn mixed(state: u64) -> u64 {
    let once = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let twice = (once ^ (once >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    twice ^ (twice >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_paper_and_can_be_had_one_by_one() {
        // The first numbers of seed 1234567 as the reference implementation gives them.
        let expected: [u64; 3] =
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        let mut random = Random::new(1_234_567);
        for (index, number) in expected.into_iter().enumerate() {
            assert_eq!(random.next_u64(), number);
            assert_eq!(Random::at(1_234_567, index as u64), number);
        }
    }

    #[test]
    fn each_number_below_an_end_comes_about_equally_often() {
        let mut seen = [0u32; 10];
        (0..10_000).for_each(|index| seen[Random::below(3, index, 10) as usize] += 1);
        assert!(seen.iter().all(|count| (850..1150).contains(count)), "{seen:?}");
        assert_eq!(Random::below(3, 0, 0), 0);
    }
}
