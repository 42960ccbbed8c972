//! The one form of tar archive that a bundle is: headers as POSIX.1-1988 (ustar) defines them.

/// Everything in a tar archive comes in blocks of so many bytes.
pub(super) const BLOCK: usize = 512;

/// The most bytes of one file: what eleven octal digits hold.
pub const MOST_FILE_BYTES: u64 = (8 << 30) - 1;

/// The header of a plain file. `path` has at most 100 bytes and `size` is at most [`MOST_FILE_BYTES`].
pub(super) fn header(path: &str, size: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let digits = format!("{size:011o}");
    put(&mut block, 0, path.as_bytes());
    put(&mut block, 100, b"0000644\x000000000\x000000000\0");
    put(&mut block, 124, digits.as_bytes());
    put(&mut block, 136, b"00000000000\0        0");
    put(&mut block, 257, b"ustar\x0000");
    put(&mut block, 329, b"0000000\x000000000\0");
    // Counted with spaces in its own place.
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    put(&mut block, 148, format!("{sum:06o}\0 ").as_bytes());
    block
}

fn put(block: &mut [u8; BLOCK], at: usize, bytes: &[u8]) {
    block.iter_mut().skip(at).zip(bytes).for_each(|(to, from)| *to = *from);
}

/// How many zeros follow a file of that size.
pub(super) fn padding(size: u64) -> usize {
    let over = usize::try_from(size % BLOCK as u64).unwrap_or_default();
    (BLOCK - over) % BLOCK
}

/// The size that a header states, if it is eleven octal digits.
pub(super) fn size(block: &[u8; BLOCK]) -> Option<u64> {
    let digits = std::str::from_utf8(block.get(124..135)?).ok()?;
    if digits.bytes().all(|byte| byte.is_ascii_digit()) { u64::from_str_radix(digits, 8).ok() } else { None }
}

/// What a header that is not the expected one is of, for messages.
pub(super) fn describe(block: &[u8; BLOCK]) -> String {
    if *block == [0; BLOCK] {
        return "the end of the archive".into();
    }
    let name: Vec<u8> = block.iter().take(100).copied().take_while(|byte| *byte != 0).collect();
    let name = String::from_utf8_lossy(&name).escape_debug().to_string();
    let of = |what: &str| format!("{what} `{name}`");
    match block.get(156) {
        Some(b'0' | 0 | b'7') => match size(block) {
            Some(size) => format!("file `{name}` of {size} bytes, or in another form"),
            None => format!("file `{name}` without a plain size"),
        },
        Some(b'1') => of("the hard link"),
        Some(b'2') => of("the symbolic link"),
        Some(b'3' | b'4') => of("the device"),
        Some(b'5') => of("the folder"),
        Some(b'6') => of("the pipe"),
        Some(b'L' | b'K' | b'x' | b'g') => "a long name or another extension of tar".into(),
        Some(b'S') => of("the sparse file"),
        _ => "no file's header".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_as_gnu_tar_writes_it() {
        // printf hello >a; tar --format=ustar --owner=0 --group=0 --numeric-owner --mode=0644 --mtime=@0 -cf - a
        let mut expected = b"a".to_vec();
        expected.resize(100, 0);
        expected.extend(b"0000644\x000000000\x000000000\x0000000000005\x0000000000000\x00007343\0 0");
        expected.resize(257, 0);
        expected.extend(b"ustar\x0000");
        expected.resize(329, 0);
        expected.extend(b"0000000\x000000000\0");
        expected.resize(512, 0);
        assert_eq!(header("a", 5).as_slice(), expected);
    }

    #[test]
    fn sizes_come_back() {
        for size in [0, 1, 511, 512, 513, MOST_FILE_BYTES] {
            assert_eq!(super::size(&header("a", size)), Some(size));
            assert_eq!((size + padding(size) as u64) % 512, 0);
        }
        let mut block = header("a", 5);
        block[124] = b'-';
        assert_eq!(super::size(&block), None);
    }
}
