//! Memory for very many small records.

use std::ops::Range;

use memmap2::{Advice, MmapMut};

/// What the processor gets from memory at a time.
pub(super) type Line = [u8; 64];

/// In the place of a line where there is none.
pub(super) static NO_LINE: Line = [0; _];

/// From how many bytes on it matters that no line of a region lies in two of the processor's.
const PAGE: usize = 4096;

/// The larger of the two sizes that pages of memory have on the processors that servers run on.
const LARGE_PAGE: usize = 2 * 1024 * 1024;

/// Lines, all zeros at first.
pub(super) enum Region {
    Allocated(Vec<Line>),
    Mapped { memory: MmapMut, used: Range<usize> },
}

impl Region {
    /// Lines that will soon be used. Random places of much memory are found slowly when the processor must first find
    /// their pages, so from the size of a large page on the system is asked for such.
    pub(super) fn full(lines: usize) -> Self {
        let region = Self::sparse(lines);
        if let Self::Mapped { memory, used } = &region
            && used.len() >= LARGE_PAGE
        {
            // A system without large pages refuses the advice, and nothing is lost.
            let _: std::io::Result<()> =
                memory.advise_range(Advice::HugePage, used.start, used.len());
        }
        region
    }

    /// Lines of which many may never be used: those take no memory.
    pub(super) fn sparse(lines: usize) -> Self {
        let mapped = Self::mapped(lines * size_of::<Line>());
        mapped.unwrap_or_else(|| Self::Allocated(vec![[0; _]; lines]))
    }

    /// None for so little that it does not matter, and when the system gives no memory in this way.
    fn mapped(bytes: usize) -> Option<Self> {
        let page = match bytes {
            0..PAGE => return None,
            PAGE..LARGE_PAGE => PAGE,
            _ => LARGE_PAGE,
        };
        // Not every system begins it where a large page can begin. What is left over at either end is never touched.
        let memory = MmapMut::map_anon(bytes + page).ok()?;
        let start = memory.as_ptr().align_offset(page);
        let used = start..start + bytes;
        Some(Self::Mapped { memory, used })
    }

    pub(super) fn lines(&self) -> &[Line] {
        match self {
            Self::Allocated(lines) => lines,
            Self::Mapped { memory, used } => {
                let bytes = memory.get(used.clone()).unwrap_or_default();
                bytes.as_chunks().0
            }
        }
    }

    pub(super) fn lines_mut(&mut self) -> &mut [Line] {
        match self {
            Self::Allocated(lines) => lines,
            Self::Mapped { memory, used } => {
                let bytes = memory.get_mut(used.clone()).unwrap_or_default();
                bytes.as_chunks_mut().0
            }
        }
    }
}

/// Reads of each line, so that it is near when it is used. None of these reads waits for another one, and nothing depends
/// on what is read, so that the processor waits for many places in memory at once and not for one after the other.
pub(super) fn fetch(lines: &[&Line]) {
    let bytes = lines.iter().map(|line| {
        let [first, ..] = line;
        first
    });
    std::hint::black_box(bytes.fold(0, |all, byte| all ^ byte));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_zeros_and_keeps_its_last(mut region: Region, lines: usize) {
        assert_eq!(region.lines(), vec![[0; 64]; lines]);
        if let Some(last) = region.lines_mut().last_mut() {
            *last = [7; 64];
        }
        assert_eq!(region.lines().len(), lines);
        assert!(region.lines().last().is_none_or(|last| *last == [7; 64]));
        if lines * 64 >= PAGE {
            assert_eq!(region.lines().as_ptr().addr() % 64, 0);
        }
    }

    #[test]
    fn a_region_is_as_many_zeros_whatever_its_size() {
        for lines in [0, 1, 63, 64, 1000, LARGE_PAGE / 64, 3 * LARGE_PAGE / 64 + 1] {
            is_zeros_and_keeps_its_last(Region::full(lines), lines);
            is_zeros_and_keeps_its_last(Region::sparse(lines), lines);
        }
    }

    #[test]
    fn a_large_one_begins_where_a_large_page_can() {
        let region = Region::full(LARGE_PAGE / 64);
        assert_eq!(region.lines().as_ptr().addr() % LARGE_PAGE, 0);
    }
}
