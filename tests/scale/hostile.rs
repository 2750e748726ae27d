//! Dump files whose lists are long on purpose. Each is about as large as its lists, and no single
//! list exceeds a limit.

/// The contents of a hostile file.
#[derive(Clone, Copy, Default)]
pub struct Hostile {
    pub threads: u32,
    /// One-byte ranges of the MemoryList, one after the other from [`BASE`] on.
    pub ranges: u32,
    /// Entries of the loss trailer, each of one byte after all ranges.
    pub losses: u32,
    /// Each loss covers all of the ranges instead.
    pub whole_losses: bool,
    /// Unknown entries of the directory, in front of the others.
    pub unknown_streams: u32,
    /// Every thread has a context with this many bytes, at the same offset.
    pub context: u32,
    /// Each thread's stack is not all of the ranges, but the memory after them, where the losses
    /// are.
    pub lost_stacks: bool,
}

pub const BASE: u64 = 0x10000;

impl Hostile {
    pub fn bytes(self) -> Vec<u8> {
        let directory_len = (3 + self.unknown_streams) * 12;
        let system = 32 + directory_len;
        let threads = system + 56;
        let memory = threads + 4 + 48 * self.threads;
        let context = memory + 4 + 16 * self.ranges;
        let data = context + self.context;
        let mut bytes = Vec::new();
        let streams = 3 + self.unknown_streams;
        words(&mut bytes, &[0x504d_444d, 0xa793, streams, 32, 0, 0, 0, 0]);
        for index in 0..self.unknown_streams {
            words(&mut bytes, &[0x1_0000 + index, 0, system]);
        }
        words(&mut bytes, &[7, 56, system]);
        words(&mut bytes, &[3, memory - threads, threads]);
        words(&mut bytes, &[5, context - memory, memory]);
        // x86-64, Windows 10.
        bytes.extend([9, 0, 6, 0, 0, 0, 1, 1]);
        words(&mut bytes, &[10, 0, 19041, 2, 0, 0, 0, 0, 0, 0, 0, 0]);
        words(&mut bytes, &[self.threads]);
        for id in 1..=self.threads {
            words(&mut bytes, &[id, 0, 0, 0, 0, 0]);
            let stack = match self.lost_stacks {
                true => BASE + u64::from(self.ranges) + 1,
                false => BASE,
            };
            bytes.extend(stack.to_le_bytes());
            words(&mut bytes, &[self.ranges, data, self.context, context]);
        }
        words(&mut bytes, &[self.ranges]);
        for index in 0..self.ranges {
            bytes.extend((BASE + u64::from(index)).to_le_bytes());
            words(&mut bytes, &[1, data + index]);
        }
        bytes.resize(bytes.len() + self.context as usize, 0);
        bytes.resize(bytes.len() + self.ranges as usize, 0xDD);
        if self.losses > 0 {
            self.trailer(&mut bytes);
        }
        bytes
    }

    fn trailer(self, bytes: &mut Vec<u8>) {
        bytes.extend(b"DWLOSSES");
        words(bytes, &[1, self.losses]);
        for index in 0..self.losses {
            let (start, length) = match self.whole_losses {
                true => (BASE, self.ranges.into()),
                false => (BASE + 4 * u64::from(self.ranges) + 2 * u64::from(index), 1),
            };
            bytes.extend(start.to_le_bytes());
            bytes.extend(u64::to_le_bytes(length));
            words(bytes, &[1, 0]);
        }
        bytes.extend((32 + 24 * u64::from(self.losses)).to_le_bytes());
        bytes.extend(b"DWLOSEND");
    }
}

fn words(bytes: &mut Vec<u8>, words: &[u32]) {
    bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
}
