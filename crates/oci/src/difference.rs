//! Where two contents differ.

use std::io::{self, Read};

use reimage_castore::read_full;

/// Bytes that are shown of each.
const SHOWN: usize = 16;

/// Where two contents differ first, as a position in bytes, and what stands there; none if they are the same.
pub fn first_difference(mut one: impl Read, mut two: impl Read) -> io::Result<Option<String>> {
    let (mut a, mut b) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut position = 0;
    loop {
        let (first, second) = (fill(&mut one, &mut a)?, fill(&mut two, &mut b)?);
        let same = first.iter().zip(second).take_while(|(one, two)| one == two).count();
        if same < first.len().max(second.len()) {
            let [first, second] = [first, second].map(|bytes| {
                let shown = &bytes[same.min(bytes.len())..];
                let shown = &shown[..shown.len().min(SHOWN)];
                if shown.is_empty() {
                    "its end".to_owned()
                } else {
                    format!("`{}`", shown.escape_ascii())
                }
            });
            return Ok(Some(format!("from byte {} on {first}, then {second}", position + same)));
        }
        if first.is_empty() {
            return Ok(None);
        }
        position += same;
    }
}

/// As much as there is, up to the length of `buffer`.
fn fill(from: impl Read, buffer: &mut [u8]) -> io::Result<&[u8]> {
    let length = read_full(from, buffer)?;
    Ok(&buffer[..length])
}
