//! Amounts of money, as models' providers ask for them.

use std::ops::Add;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An amount in US dollars: none or more, to the millionth, so that sums are exact. Written as a number of dollars: `0.0656`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Dollars {
    millionths: u64,
}

/// More than anybody spends at once; as a number of dollars it is exact to the millionth.
const MOST: f64 = 1e9;

impl Dollars {
    /// As many millionths of a dollar.
    #[must_use]
    pub const fn from_millionths(millionths: u64) -> Self {
        Self { millionths }
    }

    /// As many dollars, to the nearest millionth; `None` for what is no amount: less than nothing, no number, or more than a
    /// thousand million.
    #[must_use]
    pub fn new(dollars: f64) -> Option<Self> {
        // In this range the rounded product is a whole number that an integer has.
        (0.0..=MOST).contains(&dollars).then(|| Self { millionths: (dollars * 1e6).round() as u64 })
    }

    /// The amount in millionths of a dollar.
    #[must_use]
    pub const fn millionths(self) -> u64 {
        self.millionths
    }

    /// The amount in dollars.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        self.millionths as f64 / 1e6
    }
}

impl Add for Dollars {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { millionths: self.millionths.saturating_add(other.millionths) }
    }
}

impl Serialize for Dollars {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.as_f64())
    }
}

impl<'de> Deserialize<'de> for Dollars {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let dollars = f64::deserialize(deserializer)?;
        Self::new(dollars).ok_or_else(|| serde::de::Error::custom(format!("{dollars} is no amount of dollars")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_read_to_the_nearest_millionth_and_written_in_dollars() {
        for (told, millionths, written) in
            [(0.0, 0, "0.0"), (0.065_964_000_000_000_01, 65_964, "0.065964"), (2.5, 2_500_000, "2.5"), (4e-7, 0, "0.0")]
        {
            let amount = Dollars::new(told).unwrap();
            assert_eq!(amount, Dollars::from_millionths(millionths), "{told}");
            assert_eq!(serde_json::to_string(&amount).unwrap(), written);
            assert_eq!(serde_json::from_str::<Dollars>(written).unwrap(), amount);
        }
        assert_eq!(serde_json::from_str::<Dollars>("3").unwrap(), Dollars::from_millionths(3_000_000));
    }

    #[test]
    fn what_is_no_amount_is_none() {
        for told in [-0.01, f64::NAN, f64::INFINITY, 1e10] {
            assert_eq!(Dollars::new(told), None, "{told}");
        }
        let most = Dollars::new(MOST).unwrap();
        assert_eq!(serde_json::from_str::<Dollars>(&serde_json::to_string(&most).unwrap()).unwrap(), most);
    }

    #[test]
    fn amounts_add_up_exactly() {
        let tenth = Dollars::from_millionths(100_000);
        assert_eq!((0..10).fold(Dollars::default(), |sum, _| sum + tenth).as_f64(), 1.0);
        assert_eq!(Dollars::from_millionths(u64::MAX) + tenth, Dollars::from_millionths(u64::MAX));
    }
}
