//! Memory for very many small records.

use std::ops::Range;

use memmap2::{Advice, MmapMut};

/// The larger of the two sizes that pages of memory have on the processors that servers run on.
const LARGE_PAGE: usize = 2 * 1024 * 1024;

/// So many records of `N` bytes, all zeros at first.
pub(super) enum Region<const N: usize> {
    Allocated(Vec<[u8; N]>),
    Mapped { memory: MmapMut, used: Range<usize> },
}

impl<const N: usize> Region<N> {
    /// Records that will soon be used. Random places of much memory are found slowly when the processor must first find
    /// their pages, so from the size of a large page on the system is asked for such.
    pub(super) fn full(records: usize) -> Self {
        let bytes = records * N;
        let mapped = (bytes >= LARGE_PAGE).then(|| Self::mapped(bytes)).flatten();
        if let Some(Self::Mapped { memory, used }) = &mapped {
            // A system without large pages refuses the advice, and nothing is lost.
            let _: std::io::Result<()> = memory.advise_range(Advice::HugePage, used.start, bytes);
        }
        mapped.unwrap_or_else(|| Self::allocated(records))
    }

    /// Records of which many may never be used: those take no memory.
    pub(super) fn sparse(records: usize) -> Self {
        Self::mapped(records * N).unwrap_or_else(|| Self::allocated(records))
    }

    fn allocated(records: usize) -> Self {
        Self::Allocated(vec![[0; N]; records])
    }

    fn mapped(bytes: usize) -> Option<Self> {
        // Not every system begins it where a large page can begin. What is left over at either end is never touched.
        let memory = MmapMut::map_anon(bytes + LARGE_PAGE).ok()?;
        let start = memory.as_ptr().align_offset(LARGE_PAGE);
        let used = start..start + bytes;
        Some(Self::Mapped { memory, used })
    }

    pub(super) fn records(&self) -> &[[u8; N]] {
        match self {
            Self::Allocated(records) => records,
            Self::Mapped { memory, used } => {
                let bytes = memory.get(used.clone()).unwrap_or_default();
                bytes.as_chunks().0
            }
        }
    }

    pub(super) fn records_mut(&mut self) -> &mut [[u8; N]] {
        match self {
            Self::Allocated(records) => records,
            Self::Mapped { memory, used } => {
                let bytes = memory.get_mut(used.clone()).unwrap_or_default();
                bytes.as_chunks_mut().0
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_zeros_and_keeps_its_last<const N: usize>(mut region: Region<N>, records: usize) {
        assert_eq!(region.records(), vec![[0; N]; records]);
        if let Some(last) = region.records_mut().last_mut() {
            *last = [7; N];
        }
        assert_eq!(region.records().len(), records);
        assert!(region.records().last().is_none_or(|last| *last == [7; N]));
    }

    #[test]
    fn a_region_is_as_many_zeros_whatever_its_size() {
        for records in [0, 1, 1000, LARGE_PAGE / 16, 3 * LARGE_PAGE / 16 + 1] {
            is_zeros_and_keeps_its_last(Region::<16>::full(records), records);
            is_zeros_and_keeps_its_last(Region::<16>::sparse(records), records);
        }
    }

    #[test]
    fn a_large_one_begins_where_a_large_page_can() {
        let region = Region::<64>::full(LARGE_PAGE / 64);
        assert_eq!(region.records().as_ptr().addr() % LARGE_PAGE, 0);
    }
}
