//! The rows on one page of a SQLite file, read without SQLite: what a loss of power leaves is single pages.

use rusqlite::types::Value;

/// A row that begins on the page. Of one that is too long for it, the columns that stand there.
pub(crate) struct PageRow {
    /// Its number, unless it belongs to an index or to a table without numbers.
    pub(crate) number: Option<i64>,
    pub(crate) columns: Vec<Value>,
}

const INDEX_INTERIOR: u8 = 0x02;
const INDEX_LEAF: u8 = 0x0a;
const TABLE_LEAF: u8 = 0x0d;

/// The rows on this page, none if it isn't one that has any.
pub(crate) fn rows(page: &[u8]) -> Vec<PageRow> {
    // Before the cells' places stands a header; before a cell of an interior page, the number of another page.
    let (header, child) = match page.first() {
        Some(&INDEX_INTERIOR) => (12, 4),
        Some(&INDEX_LEAF | &TABLE_LEAF) => (8, 0),
        _ => return Vec::new(),
    };
    let has_numbers = page[0] == TABLE_LEAF;
    let short = |at: usize| usize::from(u16::from_be_bytes([page[at], page[at + 1]]));
    let places = (0..short(3)).map(|cell| short(header + 2 * cell));
    places.filter_map(|place| row(&mut page.get(place + child..)?, has_numbers)).collect()
}

fn row(cell: &mut &[u8], has_number: bool) -> Option<PageRow> {
    let _its_length = varint(cell)?;
    let number = if has_number { Some(varint(cell)?) } else { None };
    let record = *cell;
    let header_length = usize::try_from(varint(cell)?).ok()?;
    let (mut header, mut body) = record.split_at_checked(header_length)?;
    let _its_length = varint(&mut header)?;
    let mut columns = Vec::new();
    while !header.is_empty() {
        let kind = varint(&mut header)?;
        let Some(value) = value(kind, &mut body) else { break };
        columns.push(value);
    }
    Some(PageRow { number, columns })
}

fn value(kind: i64, body: &mut &[u8]) -> Option<Value> {
    let length = match kind {
        0 | 8 | 9 => 0,
        1..=4 => kind,
        5 => 6,
        6 | 7 => 8,
        _ => (kind - 12) / 2,
    };
    let bytes = body.split_off(..usize::try_from(length).ok()?)?;
    Some(match kind {
        0 => Value::Null,
        7 => Value::Real(f64::from_be_bytes(bytes.try_into().ok()?)),
        8 | 9 => Value::Integer(kind - 8),
        1..=6 => {
            let sign = if bytes[0] < 0x80 { 0 } else { -1 };
            Value::Integer(bytes.iter().fold(sign, |number, byte| number << 8 | i64::from(*byte)))
        }
        _ if kind % 2 == 0 => Value::Blob(bytes.to_vec()),
        _ => Value::Text(String::from_utf8_lossy(bytes).into_owned()),
    })
}

/// Seven bits of each byte, as long as the eighth is set; all eight of a ninth.
fn varint(bytes: &mut &[u8]) -> Option<i64> {
    let mut number = 0;
    for place in 0..9 {
        let byte = *bytes.split_off_first()?;
        if place == 8 {
            return Some(number << 8 | i64::from(byte));
        }
        number = number << 7 | i64::from(byte & 0x7f);
        if byte < 0x80 {
            break;
        }
    }
    Some(number)
}
