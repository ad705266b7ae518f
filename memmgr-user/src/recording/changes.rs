//! [`Changes`] ↔ bytes: columns of variable-length integers, compressed. `docs/recording.md` has the layout.
//!
//! Counts are fixed-point numbers with a scale that the recording states: 1 where every call is
//! counted, so that they are exact, and 256 for estimates.

use std::io;

use integer_encoding::VarInt;

use crate::aggregate::{Amount, Changes, SiteDelta};

/// Fast, and within a tenth of what slower levels reach on these columns.
const COMPRESSION: i32 = 3;
/// More than any recording's interval takes; a damaged one may claim anything.
const MOST_BYTES: usize = 1 << 30;

/// The bytes of these changes.
pub(super) fn encode(changes: &Changes, scale: u32) -> io::Result<Vec<u8>> {
    let mut columns = Columns::default();
    columns.unsigned(changes.sites.len() as u64);
    columns.unsigned(changes.dips.len() as u64);
    let mut last = 0;
    for delta in &changes.sites {
        columns.unsigned(u64::from(delta.site - last));
        last = delta.site;
    }
    let scaled = |count: f64| (count * f64::from(scale)).round() as i64;
    let amounts = |columns: &mut Columns, amounts: &[Amount]| {
        columns.all_signed(amounts.iter().map(|amount| scaled(amount.count)));
        columns.all_signed(amounts.iter().map(|amount| amount.bytes.round() as i64));
        // Without sampling every block was seen.
        if scale > 1 {
            columns.all_signed(amounts.iter().map(|amount| amount.samples.round() as i64));
            // The square root: a variance takes twice the bytes, and does not fit 64 bits for the largest blocks.
            let errors = amounts.iter().map(|amount| scaled(amount.variance.max(0.0).sqrt()));
            columns.all_unsigned(errors.map(i64::unsigned_abs));
        }
    };
    let allocated: Vec<Amount> = changes.sites.iter().map(|delta| delta.allocated).collect();
    amounts(&mut columns, &allocated);
    columns.all_unsigned(changes.sites.iter().map(|delta| delta.freed.len() as u64));
    let (ages, freed): (Vec<u32>, Vec<Amount>) =
        changes.sites.iter().flat_map(|delta| delta.freed.iter().copied()).unzip();
    columns.all_unsigned(ages.iter().map(|age| u64::from(*age)));
    amounts(&mut columns, &freed);
    let mut last = 0;
    for (book, _) in &changes.dips {
        columns.unsigned(u64::from(book - last));
        last = *book;
    }
    columns.all_unsigned(changes.dips.iter().map(|(_, dip)| dip.round() as u64));
    zstd::bulk::compress(&columns.0, COMPRESSION)
}

/// The changes in these bytes.
pub(super) fn decode(bytes: &[u8], scale: u32) -> io::Result<Changes> {
    let claimed = zstd::zstd_safe::get_frame_content_size(bytes).ok().flatten().unwrap_or(0);
    if claimed > MOST_BYTES as u64 {
        return Err(damaged());
    }
    let columns = zstd::bulk::decompress(bytes, claimed as usize)?;
    let mut columns = Reader(&columns);
    let (sites, dips) = (columns.length()?, columns.length()?);
    let ids = columns.ascending(sites)?;
    let allocated = columns.amounts(sites, scale)?;
    let lengths = (0..sites).map(|_| columns.length()).collect::<io::Result<Vec<usize>>>()?;
    let total =
        lengths.iter().try_fold(0_usize, |sum, n| sum.checked_add(*n)).ok_or_else(damaged)?;
    columns.expect(total)?;
    let ages = (0..total).map(|_| columns.number()).collect::<io::Result<Vec<u32>>>()?;
    let freed = columns.amounts(total, scale)?;
    let mut freed = ages.into_iter().zip(freed);
    let sites = ids
        .into_iter()
        .zip(allocated)
        .zip(lengths)
        .map(|((site, allocated), length)| SiteDelta {
            site,
            allocated,
            freed: freed.by_ref().take(length).collect(),
        })
        .collect();
    let books = columns.ascending(dips)?;
    let depths =
        (0..dips).map(|_| Ok(columns.unsigned()? as f64)).collect::<io::Result<Vec<f64>>>()?;
    Ok(Changes { sites, dips: books.into_iter().zip(depths).collect() })
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "an interval is damaged")
}

#[derive(Default)]
struct Columns(Vec<u8>);

impl Columns {
    fn unsigned(&mut self, value: u64) {
        let mut bytes = [0; 10];
        let length = value.encode_var(&mut bytes);
        self.0.extend_from_slice(&bytes[..length]);
    }

    fn all_unsigned(&mut self, values: impl Iterator<Item = u64>) {
        for value in values {
            self.unsigned(value);
        }
    }

    fn all_signed(&mut self, values: impl Iterator<Item = i64>) {
        let mut bytes = [0; 10];
        for value in values {
            let length = value.encode_var(&mut bytes);
            self.0.extend_from_slice(&bytes[..length]);
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn decode<T: VarInt>(&mut self) -> io::Result<T> {
        let (value, length) = T::decode_var(self.0).ok_or_else(damaged)?;
        self.0 = &self.0[length..];
        Ok(value)
    }

    fn unsigned(&mut self) -> io::Result<u64> {
        self.decode()
    }

    fn number(&mut self) -> io::Result<u32> {
        u32::try_from(self.unsigned()?).map_err(|_| damaged())
    }

    /// A number of things of which each takes at least a byte.
    fn length(&mut self) -> io::Result<usize> {
        let length = self.unsigned()? as usize;
        self.expect(length)?;
        Ok(length)
    }

    fn expect(&self, things: usize) -> io::Result<()> {
        // The last column may end here.
        if things <= self.0.len() { Ok(()) } else { Err(damaged()) }
    }

    fn ascending(&mut self, length: usize) -> io::Result<Vec<u32>> {
        let mut last = 0_u32;
        (0..length)
            .map(|_| {
                last = last.checked_add(self.number()?).ok_or_else(damaged)?;
                Ok(last)
            })
            .collect()
    }

    fn amounts(&mut self, length: usize, scale: u32) -> io::Result<Vec<Amount>> {
        let mut column =
            || (0..length).map(|_| self.decode::<i64>()).collect::<io::Result<Vec<_>>>();
        let counts = column()?;
        let bytes = column()?;
        let samples = if scale > 1 { Some(column()?) } else { None };
        let errors = (0..if scale > 1 { length } else { 0 })
            .map(|_| self.unsigned())
            .collect::<io::Result<Vec<u64>>>()?;
        let scale = f64::from(scale);
        Ok((0..length)
            .map(|i| Amount {
                count: counts[i] as f64 / scale,
                bytes: bytes[i] as f64,
                samples: samples.as_ref().map_or(counts[i], |samples| samples[i]) as f64,
                variance: errors.get(i).map_or(0.0, |error| (*error as f64 / scale).powi(2)),
            })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Where every call is counted there is no variance.
    fn amount(scale: u32) -> impl Strategy<Value = Amount> {
        let errors = if scale > 1 { 1 << 15 } else { 1 };
        (0..1_000_u32, 0..1_u64 << 40, 0..errors).prop_map(|(n, bytes, error)| Amount {
            count: f64::from(n),
            bytes: bytes as f64,
            samples: f64::from(n),
            variance: f64::from(error * error),
        })
    }

    fn changes(scale: u32) -> impl Strategy<Value = Changes> {
        let freed = prop::collection::btree_map(0..5_000_u32, amount(scale), 0..4);
        let site = (amount(scale), freed)
            .prop_map(|(allocated, freed)| (allocated, freed.into_iter().collect::<Vec<_>>()));
        (
            prop::collection::btree_map(0..100_000_u32, site, 0..20),
            prop::collection::btree_map(0..100_000_u32, 0..1_u64 << 40, 0..20),
        )
            .prop_map(|(sites, dips)| Changes {
                sites: sites
                    .into_iter()
                    .map(|(site, (allocated, freed))| SiteDelta { site, allocated, freed })
                    .collect(),
                dips: dips.into_iter().map(|(book, dip)| (book, dip as f64)).collect(),
            })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            (changes, scale) in prop::sample::select(vec![1_u32, 256])
                .prop_flat_map(|scale| (changes(scale), Just(scale)))
        ) {
            let bytes = encode(&changes, scale).unwrap();
            prop_assert_eq!(decode(&bytes, scale).unwrap(), changes);
        }

        #[test]
        fn damaged_bytes_are_an_error_or_other_changes(
            changes in changes(1), at in any::<prop::sample::Index>(), with in any::<u8>()
        ) {
            let mut bytes = encode(&changes, 1).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= with;
            let _ = decode(&bytes, 1);
            let _ = decode(&bytes[..at], 1);
        }
    }

    #[test]
    fn estimates_keep_a_256th_of_a_block() {
        let amount =
            Amount { count: 1.58, bytes: 1619.97, samples: 1.0, variance: 982.55_f64.powi(2) };
        let changes = Changes {
            sites: vec![SiteDelta { site: 3, allocated: amount, freed: vec![(2, amount)] }],
            dips: vec![],
        };
        let read = decode(&encode(&changes, 256).unwrap(), 256).unwrap();
        let got = read.sites[0].allocated;
        assert!((got.count - 1.58).abs() <= 1.0 / 512.0, "{got:?}");
        assert_eq!((got.bytes, got.samples), (1620.0, 1.0));
        assert!((got.variance.sqrt() - 982.55).abs() <= 1.0 / 512.0, "{got:?}");
        // What is taken back is exactly what was given.
        assert_eq!(read.sites[0].freed, [(2, got)]);
    }
}
