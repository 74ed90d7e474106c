//! SQLite's write-ahead log as a crash has left it, read before SQLite does: whether all that was committed is there.
//!
//! SQLite takes a log up to the first frame whose checksum is wrong for its end, as it must after a power loss, when
//! what wasn't synced may be torn. If a bit was flipped in what was synced, the commits behind it are forgotten without
//! a word; so they are with a log that was deleted. Two things tell: commits behind that place, of which all but the
//! last were synced, and how far the process had written, which it notes in its lock's file after each commit without
//! waiting for the disk. What is noted there was synced before, so that it never asks for too much.

use crate::lock::WalExtent;
use std::fmt;
use std::io::{self, Read};

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// The page size of our files, for a log whose header doesn't tell.
const PAGE: usize = 4096;
/// How many times a log may have begun anew since its extent was noted, if the power was lost before that was written.
const MOST_RESTARTS: u32 = 1 << 20;

/// What a log has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct WalContents {
    /// Its salts, unless its header is damaged.
    salts: Option<[u8; 8]>,
    /// The frames that SQLite finds, up to the last commit among them.
    frames: u64,
    /// Commits behind the place where SQLite stops.
    behind: u64,
}

impl WalContents {
    /// How far the log is written.
    pub(super) fn extent(self) -> WalExtent {
        WalExtent { salts: self.salts.unwrap_or_default(), frames: self.frames }
    }
}

/// What is lost of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WalLoss {
    /// It isn't there, or empty; it had so many pages, if that is known.
    Missing(Option<u64>),
    /// It is another one.
    Replaced,
    /// It can be read up to a place only.
    Damaged {
        /// So many pages can be read.
        read: u64,
        /// So many are lost at least; `None` if that isn't known.
        lost: Option<u64>,
        /// Commits that stand behind the damage.
        commits: u64,
    },
}

impl fmt::Display for WalLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WalLoss::Missing(Some(pages)) => write!(f, "is missing or empty, and had {pages} pages"),
            WalLoss::Missing(None) => f.write_str("is missing, though the ledger was not closed"),
            WalLoss::Replaced => f.write_str("is not the one that was written last"),
            WalLoss::Damaged { read, lost, commits } => {
                write!(f, "is damaged: {read} pages of it can be read")?;
                if let Some(lost) = lost {
                    write!(f, ", {lost} more were written")?;
                }
                write!(f, ", and {commits} commits stand behind the damage")
            }
        }
    }
}

/// What of a log is lost, if anything: of what was found (`None` for no log or an empty one), how far it was noted to
/// be written, and whether the ledger was left without being closed.
pub(super) fn loss(found: Option<WalContents>, noted: Option<WalExtent>, in_use: bool) -> Option<WalLoss> {
    let Some(found) = found else {
        return match noted {
            Some(WalExtent { frames: 0, .. }) => None,
            Some(WalExtent { frames, .. }) => Some(WalLoss::Missing(Some(frames))),
            None => in_use.then_some(WalLoss::Missing(None)),
        };
    };
    let noted = noted.filter(|noted| noted.frames > 0);
    let damaged = |lost| WalLoss::Damaged { read: found.frames, lost, commits: found.behind };
    match (found.salts, noted) {
        (None, Some(noted)) => return Some(damaged(Some(noted.frames))),
        (None, None) => return (found.behind > 0).then(|| damaged(None)),
        (Some(salts), Some(noted)) if salts == noted.salts => {
            if found.frames < noted.frames {
                return Some(damaged(Some(noted.frames - found.frames)));
            }
        }
        (Some(salts), Some(noted)) => {
            let restarts = first(&salts).wrapping_sub(first(&noted.salts));
            if !(1..=MOST_RESTARTS).contains(&restarts) {
                return Some(WalLoss::Replaced);
            }
        }
        (Some(_), None) => {}
    }
    // The last commit may be one that wasn't synced, torn by a power loss.
    (found.behind > 1).then(|| damaged(None))
}

/// The first of two salts: each beginning of a log adds one to it.
fn first(salts: &[u8; 8]) -> u32 {
    salts.first_chunk().copied().map_or(0, u32::from_be_bytes)
}

/// Reads a log; `None` if it is too short for a header, as a full disk may leave it.
pub(super) fn read(mut log: impl Read) -> io::Result<Option<WalContents>> {
    let mut bytes = [0; HEADER];
    if !fill(&mut log, &mut bytes)? {
        return Ok(None);
    }
    let header = WalHeader::parse(&bytes);
    let mut contents = WalContents { salts: header.map(|header| header.salts), ..WalContents::default() };
    // Without a header, any frame may be the first, but each must go on from the one before.
    let mut chain = header.map(|header| ChecksumChain { sums: header.sums, salts: header.salts });
    let order = header.map_or(ByteOrder::NATIVE, |header| header.order);
    let (mut intact, mut count) = (header.is_some(), 0);
    let mut frame = vec![0; FRAME_HEADER + header.map_or(PAGE, |header| header.page)];
    while fill(&mut log, &mut frame)? {
        let Some(read) = WalFrame::parse(&frame) else { break };
        let expected_salts = header.map(|header| header.salts).or(chain.map(|chain| chain.salts));
        let is_valid = expected_salts == Some(read.salts)
            && read.page != 0
            && chain.is_some_and(|chain| order.sum(&[read.head, read.data], chain.sums) == read.sums);
        count += 1;
        intact &= is_valid;
        if is_valid && read.commits {
            if intact {
                contents.frames = count;
            } else {
                contents.behind += 1;
            }
        }
        chain = Some(ChecksumChain { sums: read.sums, salts: read.salts });
    }
    Ok(Some(contents))
}

/// What a frame's checksum goes on from.
#[derive(Clone, Copy)]
struct ChecksumChain {
    sums: (u32, u32),
    salts: [u8; 8],
}

#[derive(Clone, Copy)]
struct WalHeader {
    order: ByteOrder,
    page: usize,
    salts: [u8; 8],
    sums: (u32, u32),
}

impl WalHeader {
    fn parse(bytes: &[u8; HEADER]) -> Option<Self> {
        const MAGIC: u32 = 0x377f_0682;
        const VERSION: u32 = 3_007_000;
        let (covered, sums) = bytes.split_last_chunk::<8>()?;
        let (words, salts) = covered.split_last_chunk::<8>()?;
        let magic = word(words, 0)?;
        let order = if magic & 1 == 1 { ByteOrder::Big } else { ByteOrder::Little };
        let page = usize::try_from(word(words, 2)?).ok()?;
        let sums = (word(sums, 0)?, word(sums, 1)?);
        let is_valid = magic & !1 == MAGIC
            && word(words, 1)? == VERSION
            && page.is_power_of_two()
            && (512..=65536).contains(&page)
            && order.sum(&[covered], (0, 0)) == sums;
        is_valid.then_some(WalHeader { order, page, salts: *salts, sums })
    }
}

struct WalFrame<'a> {
    /// What of its header the checksum covers.
    head: &'a [u8],
    data: &'a [u8],
    page: u32,
    commits: bool,
    salts: [u8; 8],
    sums: (u32, u32),
}

impl<'a> WalFrame<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (header, data) = bytes.split_first_chunk::<FRAME_HEADER>()?;
        let (head, rest) = header.split_first_chunk::<8>()?;
        let (salts, sums) = rest.split_first_chunk::<8>()?;
        let (page, commits) = (word(head, 0)?, word(head, 1)? != 0);
        Some(WalFrame { head, data, page, commits, salts: *salts, sums: (word(sums, 0)?, word(sums, 1)?) })
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.as_chunks::<4>().0.get(at).copied().map(u32::from_be_bytes)
}

/// How the numbers stand that are summed up.
#[derive(Clone, Copy)]
enum ByteOrder {
    Big,
    Little,
}

impl ByteOrder {
    const NATIVE: ByteOrder = if cfg!(target_endian = "big") { ByteOrder::Big } else { ByteOrder::Little };

    /// SQLite's checksum of these bytes, going on from this.
    fn sum(self, parts: &[&[u8]], (mut a, mut b): (u32, u32)) -> (u32, u32) {
        for part in parts {
            for pair in part.as_chunks::<8>().0 {
                let (Some(x), Some(y)) = (pair.first_chunk(), pair.last_chunk()) else { continue };
                let (x, y) = match self {
                    ByteOrder::Big => (u32::from_be_bytes(*x), u32::from_be_bytes(*y)),
                    ByteOrder::Little => (u32::from_le_bytes(*x), u32::from_le_bytes(*y)),
                };
                a = a.wrapping_add(x).wrapping_add(b);
                b = b.wrapping_add(y).wrapping_add(a);
            }
        }
        (a, b)
    }
}

/// Fills the buffer; false if the log ends before.
fn fill(log: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match log.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALTS: [u8; 8] = [0, 0, 0, 9, 1, 2, 3, 4];

    fn extent(frames: u64) -> Option<WalExtent> {
        Some(WalExtent { salts: SALTS, frames })
    }

    fn found(salts: Option<[u8; 8]>, frames: u64, behind: u64) -> Option<WalContents> {
        Some(WalContents { salts, frames, behind })
    }

    #[test]
    fn a_log_that_lacks_what_was_noted_is_lost_and_a_torn_end_is_not() {
        let (later, other) = ([0, 0, 0, 12, 7, 7, 7, 7], [0, 0, 0, 8, 7, 7, 7, 7]);
        let damaged = |read, lost, commits| Some(WalLoss::Damaged { read, lost, commits });
        let cases = [
            (None, None, false, None),
            (None, None, true, Some(WalLoss::Missing(None))),
            (None, extent(0), true, None),
            (None, extent(5), true, Some(WalLoss::Missing(Some(5)))),
            (found(Some(SALTS), 5, 0), extent(5), true, None),
            (found(Some(SALTS), 7, 0), extent(5), true, None),
            (found(Some(SALTS), 4, 0), extent(5), true, damaged(4, Some(1), 0)),
            // A commit that wasn't synced, torn by a power loss.
            (found(Some(SALTS), 5, 1), extent(5), true, None),
            (found(Some(SALTS), 5, 1), None, true, None),
            (found(Some(SALTS), 5, 2), None, true, damaged(5, None, 2)),
            // It began anew just before the crash.
            (found(Some(later), 1, 0), extent(5), true, None),
            (found(Some(other), 1, 0), extent(5), true, Some(WalLoss::Replaced)),
            (found(None, 0, 0), extent(5), true, damaged(0, Some(5), 0)),
            (found(None, 0, 1), None, true, damaged(0, None, 1)),
            (found(None, 0, 0), None, true, None),
        ];
        for (found, noted, in_use, expected) in cases {
            assert_eq!(loss(found, noted, in_use), expected, "{found:?} {noted:?} {in_use}");
        }
    }

    #[test]
    fn what_is_no_log_has_nothing() {
        assert_eq!(read(&b""[..]).unwrap(), None);
        assert_eq!(read(&[0; 31][..]).unwrap(), None);
        assert_eq!(read(&[0; 20_000][..]).unwrap(), Some(WalContents::default()));
    }
}
