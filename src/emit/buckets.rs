//! Cuts memory into buckets, compresses them, and appends them in their order.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use dumpwright_target::AddressRange;
use lz4_flex::block::{compress_into, get_maximum_output_size};
use twox_hash::XxHash3_128;

use crate::memory::buffer::PageBuffer;
use crate::memory::is_zero;
use crate::protocol::dialogue::Compression;
use crate::streams::compressed_memory::{
    BUCKET_SIZE, BucketRecord, CompressedHeader, LARGEST_BUCKET, REGION_SIZE, RegionRecord,
};
use crate::{Error, format};

/// The unit in which zeros are looked for.
const PAGE: u64 = 4096;

/// The shortest run of zeros that gets buckets of its own. Shorter runs are compressed with the
/// memory around them, which takes one byte for 255 zeros.
const SHORTEST_RUN: u64 = 64 << 10;

/// The maximum number of threads that compress if the callback does not choose. Six of them are
/// faster than the reads of a live process, and each has two buffers of the size of a bucket.
const MOST_WORKERS: usize = 6;

/// The size in bytes of the stack of a worker. LZ4's table is on the heap.
const WORKER_STACK: usize = 256 << 10;

/// The number of entries of a table that are appended at once.
const ENTRIES: usize = 1024;

/// Appends bytes to the output.
pub(crate) type Put<'p> = dyn FnMut(&[u8]) -> Result<(), Error> + 'p;

/// Memory on its way into buckets.
///
/// A bucket is full when the next bytes do not fit. A range that does not fit as a whole begins a
/// new bucket, so that equal mappings become equal buckets. Only the contents decide where buckets
/// end and where they are in the file: the bytes do not depend on the number of threads.
///
/// Two buckets with equal compressed bytes share them. They are compared by a hash of 128 bits with
/// a random seed, because the bytes before are no longer in memory.
///
/// Memory is bounded: two buffers for each thread, two for the bucket that is being filled, and the
/// tables.
///
/// Most memory is read to its place in the bucket ([`room`](Self::room)), where it is searched for
/// zeros. Only what does not stay there is copied.
pub(crate) struct Buckets {
    settings: Compression,
    /// The largest bucket in bytes.
    largest: usize,
    /// The offset in the file of the next byte.
    at: u64,
    /// The offset in the file of the first bucket.
    data_offset: u64,
    /// The bucket that is being filled.
    current: FilledBucket,
    /// The number of regions before those of `current`.
    closed_regions: usize,
    regions: Vec<RegionRecord>,
    buckets: Vec<BucketRecord>,
    /// Zeros that follow what is in `current`.
    zeros: Option<AddressRange>,
    /// The buckets that are not in the file yet, in their order.
    queue: VecDeque<QueuedBucket>,
    workers: Option<BucketWorkers>,
    /// Buffers to be used again.
    spare: Vec<LzBlock>,
    /// The offsets of the blocks in the file.
    places: HashMap<BlockKey, u64>,
    /// The offset and the size of the compressed zeros, by the size of the bucket.
    zero_blocks: HashMap<u32, (u64, u32)>,
    seed: u64,
    /// A hash of all buckets so far, for the dump id.
    contents: u64,
}

/// A bucket that waits for those before it.
enum QueuedBucket {
    /// A worker compresses it.
    Block {
        bucket: usize,
        result: Receiver<LzBlock>,
    },
    /// It is all zeros.
    Zeros { bucket: usize },
}

/// What equal blocks have in common: both sizes, and the hash.
type BlockKey = (u32, u32, u128);

/// The bytes of a bucket before compression.
#[derive(Default)]
struct FilledBucket {
    /// A buffer for the largest bucket. `None` before the first use.
    buffer: Option<PageBuffer>,
    /// How many bytes of it are in use.
    len: usize,
}

impl FilledBucket {
    /// The whole buffer.
    fn buffer(&mut self, largest: usize) -> &mut [u8] {
        self.buffer.get_or_insert_with(|| PageBuffer::new(0, largest))
    }

    fn bytes(&self) -> &[u8] {
        self.buffer.as_ref().map_or(&[], |buffer| &buffer[..self.len])
    }
}

/// The bytes of a bucket, before and after compression.
#[derive(Default)]
struct LzBlock {
    plain: FilledBucket,
    /// A buffer for the largest possible result.
    compressed: Vec<u8>,
    /// The number of bytes of the result.
    compressed_len: usize,
    /// The hash of the result with the random seed.
    hash: u128,
    /// The hash of the result, for the dump id.
    contents: u64,
}

impl LzBlock {
    fn compress(&mut self, seed: u64) {
        let bound = get_maximum_output_size(self.plain.len);
        if self.compressed.len() < bound {
            // Not resized: the system provides zeros when they are touched.
            self.compressed = vec![0; bound];
        }
        let compressed = compress_into(self.plain.bytes(), &mut self.compressed);
        self.compressed_len = compressed.expect("the buffer has the size that LZ4 needs at most");
        self.hash = XxHash3_128::oneshot_with_seed(seed, self.result());
        self.contents = low(XxHash3_128::oneshot(self.result()));
    }

    fn result(&self) -> &[u8] {
        &self.compressed[..self.compressed_len]
    }
}

fn low(hash: u128) -> u64 {
    hash as u64
}

impl Buckets {
    /// Begins with the first bucket at this offset of the file.
    pub fn new(settings: Compression, at: u64) -> Self {
        let largest = settings.transfer_size.min(LARGEST_BUCKET);
        Self {
            settings,
            largest: usize::try_from(largest).expect("15 MiB"),
            at,
            data_offset: at,
            current: FilledBucket::default(),
            closed_regions: 0,
            regions: Vec::new(),
            buckets: Vec::new(),
            zeros: None,
            queue: VecDeque::new(),
            workers: None,
            spare: Vec::new(),
            places: HashMap::new(),
            zero_blocks: HashMap::new(),
            seed: RandomState::new().build_hasher().finish(),
            contents: 0,
        }
    }

    /// Begins a range of `len` bytes. All ranges come in ascending order.
    pub fn begin(&mut self, len: u64, put: &mut Put<'_>) -> Result<(), Error> {
        self.flush_zeros(put)?;
        if self.current.len as u64 + len > self.largest as u64 {
            self.close(put)?;
        }
        Ok(())
    }

    /// Returns the place for `len` bytes of memory at `start`, which are whole pages, if it is
    /// known. The caller fills it, and then calls [`added`](Self::added), or [`add`](Self::add)
    /// with a copy.
    ///
    /// There is no place if the bucket has not enough room, or if a long run of zeros might precede
    /// the bytes.
    pub fn room(&mut self, start: u64, len: usize) -> Option<&mut [u8]> {
        let from = self.current.len + self.short_run(start)?;
        let is_whole = (start | len as u64).is_multiple_of(PAGE);
        if !is_whole || from + len > self.largest {
            return None;
        }
        Some(&mut self.current.buffer(self.largest)[from..from + len])
    }

    /// The number of zeros before `start` that are not in the bucket yet. `None` if they might not
    /// get there.
    fn short_run(&self, start: u64) -> Option<usize> {
        match self.zeros {
            None => Some(0),
            Some(zeros) if zeros.end() == start && zeros.len() < SHORTEST_RUN => {
                Some(usize::try_from(zeros.len()).expect("less than a run"))
            }
            Some(_) => None,
        }
    }

    /// Adds the memory with which the caller has filled [`room`](Self::room) of this size.
    ///
    /// The result is the same as that of [`add`](Self::add).
    pub fn added(&mut self, start: u64, len: usize, put: &mut Put<'_>) -> Result<(), Error> {
        let before = self.short_run(start).expect("there was room");
        let from = self.current.len + before;
        let largest = self.largest;
        let bytes = &self.current.buffer(largest)[from..from + len];
        let zeros = ZeroRuns::of(bytes);
        if zeros.first == len {
            let range = AddressRange::at(start, len as u64).expect("inside the address space");
            return self.add_zeros(range, put);
        }
        if zeros.longest.max(before + zeros.first) as u64 >= SHORTEST_RUN {
            let copy = bytes.to_vec();
            return self.add(start, &copy, put);
        }
        let stays = len - zeros.last;
        self.zeros = None;
        let place = self.current.len;
        self.current.buffer(largest)[place..from].fill(0);
        self.list(start - before as u64, before + stays, place);
        self.current.len = from + stays;
        match AddressRange::at(start + stays as u64, zeros.last as u64) {
            Some(range) => self.add_zeros(range, put),
            None => Ok(()),
        }
    }

    /// Adds memory.
    pub fn add(&mut self, start: u64, bytes: &[u8], put: &mut Put<'_>) -> Result<(), Error> {
        let mut done = 0;
        while done < bytes.len() {
            let (end, are_zero) = equal_pages(start, bytes, done);
            let from = start + done as u64;
            if are_zero {
                let range = AddressRange::at(from, (end - done) as u64).expect("inside the address space");
                self.add_zeros(range, put)?;
            } else {
                self.flush_zeros(put)?;
                self.fill(from, &bytes[done..end], put)?;
            }
            done = end;
        }
        Ok(())
    }

    /// Adds memory that is zero.
    pub fn add_zeros(&mut self, range: AddressRange, put: &mut Put<'_>) -> Result<(), Error> {
        match &mut self.zeros {
            Some(zeros) if zeros.end() == range.start() => {
                *zeros = AddressRange::new(zeros.start(), range.end()).expect("grew");
            }
            _ => {
                self.flush_zeros(put)?;
                self.zeros = Some(range);
            }
        }
        Ok(())
    }

    /// Puts the zeros into buckets: a long run into buckets of its own.
    fn flush_zeros(&mut self, put: &mut Put<'_>) -> Result<(), Error> {
        static ZEROS: [u8; SHORTEST_RUN as usize] = [0; SHORTEST_RUN as usize];
        let Some(zeros) = self.zeros.take() else {
            return Ok(());
        };
        if zeros.len() < SHORTEST_RUN {
            let len = usize::try_from(zeros.len()).expect("less than a run");
            return self.fill(zeros.start(), &ZEROS[..len], put);
        }
        self.close(put)?;
        for part in zeros.chunks(self.largest as u64) {
            let mut start = part.start();
            while start < part.end() {
                // Powers of two, so that buckets of few sizes share their bytes. The entries of
                // some more buckets take less space than the compressed zeros of another size.
                let size = 1 << (part.end() - start).ilog2();
                self.regions.push(RegionRecord {
                    id: self.regions.len() as u64,
                    base: start,
                    bucket: self.buckets.len() as u64,
                    size: narrowed(size),
                    inside: 0,
                });
                let bucket = self.add_bucket(narrowed(size));
                self.queue.push_back(QueuedBucket::Zeros { bucket });
                start += size;
            }
        }
        self.advance(self.limit(), put)
    }

    /// Adds bytes to the bucket.
    fn fill(&mut self, start: u64, bytes: &[u8], put: &mut Put<'_>) -> Result<(), Error> {
        let (mut start, mut rest) = (start, bytes);
        while !rest.is_empty() {
            if self.current.len == self.largest {
                self.close(put)?;
            }
            let place = self.current.len;
            let (now, later) = rest.split_at(rest.len().min(self.largest - place));
            self.list(start, now.len(), place);
            self.current.buffer(self.largest)[place..place + now.len()].copy_from_slice(now);
            self.current.len += now.len();
            start += now.len() as u64;
            rest = later;
        }
        Ok(())
    }

    /// Lists memory that is at `place` of the bucket that is being filled.
    fn list(&mut self, start: u64, len: usize, place: usize) {
        let is_open = self.regions.len() > self.closed_regions;
        match self.regions.last_mut() {
            Some(last) if is_open && last.base + u64::from(last.size) == start => {
                last.size += narrowed(len as u64);
            }
            _ => self.regions.push(RegionRecord {
                id: self.regions.len() as u64,
                base: start,
                bucket: self.buckets.len() as u64,
                size: narrowed(len as u64),
                inside: narrowed(place as u64),
            }),
        }
    }

    /// Ends the bucket that is being filled, and gives it to a worker.
    fn close(&mut self, put: &mut Put<'_>) -> Result<(), Error> {
        if self.current.len == 0 {
            return Ok(());
        }
        if self.workers.is_none() {
            self.workers = Some(BucketWorkers::start(self.settings, self.seed));
        }
        let bucket = self.add_bucket(narrowed(self.current.len as u64));
        let block = self.take_current();
        let workers = self.workers.as_ref().expect("started above");
        if workers.threads.is_empty() {
            return self.compress_here(bucket, block, put);
        }
        let (reply, result) = sync_channel(1);
        workers.compress(block, reply)?;
        self.queue.push_back(QueuedBucket::Block { bucket, result });
        self.advance(self.limit(), put)
    }

    /// Lists a bucket with the regions that are in no bucket yet. Returns its number.
    fn add_bucket(&mut self, plain_size: u32) -> usize {
        let id = self.buckets.len();
        self.buckets.push(BucketRecord {
            id: id as u64,
            plain_size,
            compressed_size: 0,
            offset: 0,
            first_region: self.closed_regions as u64,
            region_count: (self.regions.len() - self.closed_regions) as u64,
        });
        self.closed_regions = self.regions.len();
        id
    }

    /// Returns the bytes of the bucket, and begins with an empty one.
    fn take_current(&mut self) -> LzBlock {
        let mut block = self.spare.pop().unwrap_or_default();
        std::mem::swap(&mut block.plain, &mut self.current);
        self.current.len = 0;
        block
    }

    /// Compresses a bucket on this thread.
    fn compress_here(&mut self, bucket: usize, mut block: LzBlock, put: &mut Put<'_>) -> Result<(), Error> {
        self.advance(0, put)?;
        block.compress(self.seed);
        self.write(bucket, block, put)
    }

    /// The number of buckets that may wait: one more than there are workers, so that none of them
    /// is idle while the output takes a bucket.
    fn limit(&self) -> usize {
        self.workers.as_ref().map_or(0, |workers| workers.threads.len())
    }

    /// Writes the buckets at the front of the queue that are compressed. Waits for the first ones
    /// if more than `limit` buckets are being compressed.
    fn advance(&mut self, limit: usize, put: &mut Put<'_>) -> Result<(), Error> {
        let is_block = |queued: &&QueuedBucket| matches!(queued, QueuedBucket::Block { .. });
        let mut waiting = self.queue.iter().filter(is_block).count();
        while let Some(first) = self.queue.front() {
            let (bucket, block) = match first {
                QueuedBucket::Zeros { bucket } => (*bucket, None),
                QueuedBucket::Block { bucket, result } if waiting > limit => {
                    (*bucket, Some(result.recv().map_err(|_| gone())?))
                }
                QueuedBucket::Block { bucket, result } => match result.try_recv() {
                    Ok(block) => (*bucket, Some(block)),
                    Err(TryRecvError::Empty) => return Ok(()),
                    Err(TryRecvError::Disconnected) => return Err(gone()),
                },
            };
            self.queue.pop_front();
            match block {
                Some(block) => {
                    waiting -= 1;
                    self.write(bucket, block, put)?;
                }
                None => self.write_zeros(bucket, put)?,
            }
        }
        Ok(())
    }

    /// Writes a compressed bucket, unless its bytes are in the file already.
    fn write(&mut self, bucket: usize, block: LzBlock, put: &mut Put<'_>) -> Result<(), Error> {
        let compressed_size = narrowed(block.compressed_len as u64);
        let key = (self.buckets[bucket].plain_size, compressed_size, block.hash);
        let offset = match self.places.get(&key) {
            Some(offset) => *offset,
            None => {
                put(block.result())?;
                let offset = self.at;
                self.at += u64::from(compressed_size);
                self.places.insert(key, offset);
                offset
            }
        };
        self.mix(block.contents);
        self.settle(bucket, offset, compressed_size);
        self.spare.push(block);
        Ok(())
    }

    /// Writes a bucket of zeros. Those of one size share their bytes.
    fn write_zeros(&mut self, bucket: usize, put: &mut Put<'_>) -> Result<(), Error> {
        let size = self.buckets[bucket].plain_size;
        let (offset, compressed_size) = match self.zero_blocks.get(&size) {
            Some(place) => *place,
            None => {
                let len = size as usize;
                let plain = FilledBucket {
                    buffer: Some(PageBuffer::new(0, len)),
                    len,
                };
                let mut block = LzBlock {
                    plain,
                    ..LzBlock::default()
                };
                block.compress(self.seed);
                put(block.result())?;
                let place = (self.at, narrowed(block.compressed_len as u64));
                self.at += block.compressed_len as u64;
                self.zero_blocks.insert(size, place);
                place
            }
        };
        self.mix(size.into());
        self.settle(bucket, offset, compressed_size);
        Ok(())
    }

    fn settle(&mut self, bucket: usize, offset: u64, compressed_size: u32) {
        let bucket = &mut self.buckets[bucket];
        (bucket.offset, bucket.compressed_size) = (offset, compressed_size);
    }

    /// Adds a number to the hash of the contents.
    fn mix(&mut self, number: u64) {
        self.contents = low(XxHash3_128::oneshot_with_seed(
            self.contents,
            &number.to_le_bytes(),
        ));
    }

    /// Writes what is left, and the tables. Returns the header, which lacks what its caller knows.
    pub fn finish(mut self, put: &mut Put<'_>) -> Result<CompressedHeader, Error> {
        self.flush_zeros(put)?;
        if self.workers.is_some() {
            self.close(put)?;
        } else if self.current.len > 0 {
            // There is only one bucket of other memory than zeros.
            let bucket = self.add_bucket(narrowed(self.current.len as u64));
            let block = self.take_current();
            self.compress_here(bucket, block, put)?;
        }
        self.advance(0, put)?;
        self.workers = None;
        let data_size = self.at - self.data_offset;
        let gap = self.at.next_multiple_of(8) - self.at;
        put(&[0; 8][..usize::try_from(gap).expect("less than 8")])?;
        let regions_offset = self.at + gap;
        for region in &self.regions {
            self.contents = low(XxHash3_128::oneshot_with_seed(
                self.contents,
                &region.base.to_le_bytes(),
            ));
        }
        for entries in self.regions.chunks(ENTRIES) {
            put(&format::bytes(entries.iter().copied()))?;
        }
        let buckets_offset = regions_offset + self.regions.len() as u64 * REGION_SIZE;
        for entries in self.buckets.chunks(ENTRIES) {
            put(&format::bytes(entries.iter().copied()))?;
        }
        let sum = |size: fn(&BucketRecord) -> u32| -> u64 {
            self.buckets.iter().map(|bucket| u64::from(size(bucket))).sum()
        };
        let (plain, compressed) = (
            sum(|bucket| bucket.plain_size),
            sum(|bucket| bucket.compressed_size),
        );
        let left = u128::from(compressed) * 100 / u128::from(plain.max(1));
        Ok(CompressedHeader {
            header_size: CompressedHeader::SIZE,
            version: CompressedHeader::VERSION,
            signature: CompressedHeader::SIGNATURE,
            dump_id: self.contents.max(1),
            process_id: 0,
            transfer_size: self.settings.transfer_size.into(),
            stream_offset: 0,
            stream_size: 0,
            plain_bytes: plain,
            compressed_bytes: compressed,
            // Memory that cannot be compressed becomes a little larger.
            rate: 100_u64.saturating_sub(u64::try_from(left).unwrap_or(u64::MAX)),
            region_count: self.regions.len() as u64,
            regions_offset,
            region_size: REGION_SIZE,
            bucket_count: self.buckets.len() as u64,
            buckets_offset,
            bucket_size: BUCKET_SIZE,
            data_offset: self.data_offset,
            data_size,
            library: CompressedHeader::LZ4,
            reserved: [0; 44],
        })
    }
}

/// Returns the end of the pages from index `from` on that are all zero, or all not zero, and which
/// of the two they are. Pages are those of the address space, and `bytes` begin at `start`.
fn equal_pages(start: u64, bytes: &[u8], from: usize) -> (usize, bool) {
    let end_of_page = |at: usize| {
        let to_end = PAGE - (start + at as u64) % PAGE;
        bytes.len().min(at + usize::try_from(to_end).expect("a page"))
    };
    let mut end = end_of_page(from);
    let are_zero = is_zero(&bytes[from..end]);
    while end < bytes.len() {
        let next = end_of_page(end);
        if is_zero(&bytes[end..next]) != are_zero {
            break;
        }
        end = next;
    }
    (end, are_zero)
}

/// The zeros in whole pages: how many bytes at the beginning, at the end, and in the longest run.
#[derive(Debug, PartialEq, Eq)]
struct ZeroRuns {
    first: usize,
    last: usize,
    longest: usize,
}

impl ZeroRuns {
    fn of(bytes: &[u8]) -> Self {
        let mut runs = Self {
            first: 0,
            last: 0,
            longest: 0,
        };
        for (page, at) in bytes.chunks(PAGE as usize).zip((0..).step_by(PAGE as usize)) {
            if !is_zero(page) {
                runs.last = 0;
                continue;
            }
            runs.last += page.len();
            if runs.last == at + page.len() {
                runs.first = runs.last;
            }
            runs.longest = runs.longest.max(runs.last);
        }
        runs
    }
}

/// Converts a size of at most a bucket.
fn narrowed(size: u64) -> u32 {
    u32::try_from(size).expect("at most a bucket")
}

fn gone() -> Error {
    let ended = io::Error::other("a thread that compresses the dump has ended");
    Error::output("compress", None, ended)
}

/// A bucket to be compressed, and where the result goes.
type BucketJob = (LzBlock, SyncSender<LzBlock>);

/// The threads that compress. Dropping this waits for their end.
struct BucketWorkers {
    /// `None` while this is being dropped: the threads end when there is no sender.
    jobs: Option<Sender<BucketJob>>,
    threads: Vec<JoinHandle<()>>,
}

impl BucketWorkers {
    /// Starts the threads, as far as the system allows: not more than there are processors.
    fn start(settings: Compression, seed: u64) -> Self {
        let (jobs, queue) = channel();
        let queue = Arc::new(Mutex::new(queue));
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let most = match usize::try_from(settings.parallelism) {
            Ok(0) => MOST_WORKERS,
            chosen => chosen.unwrap_or(usize::MAX),
        };
        let threads = (0..processors.min(most)).map_while(|_| {
            let queue = Arc::clone(&queue);
            thread::Builder::new()
                .name("dumpwright-lz4".to_owned())
                .stack_size(WORKER_STACK)
                .spawn(move || work(&queue, seed))
                .ok()
        });
        Self {
            threads: threads.collect(),
            jobs: Some(jobs),
        }
    }

    fn compress(&self, block: LzBlock, reply: SyncSender<LzBlock>) -> Result<(), Error> {
        let jobs = self.jobs.as_ref().expect("only drop takes it");
        jobs.send((block, reply)).map_err(|_| gone())
    }
}

impl Drop for BucketWorkers {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // A panic has already been printed, and the dump has failed because of it.
            drop(thread.join());
        }
    }
}

/// Compresses buckets until there are no more.
fn work(queue: &Mutex<Receiver<BucketJob>>, seed: u64) {
    loop {
        let Ok(Ok((mut block, reply))) = queue.lock().map(|queue| queue.recv()) else {
            return;
        };
        block.compress(seed);
        // Nobody waits for the result if the dump has failed.
        drop(reply.send(block));
    }
}

/// What these tests would catch: bytes that depend on the number of threads, or a dump that fails
/// where the system refuses threads.
#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the bytes of the buckets and tables of some memory, compressed by `threads`.
    fn written(threads: Option<u32>) -> Vec<u8> {
        written_by(threads, |buckets, start, memory, put| {
            buckets.add(start, memory, put).unwrap();
        })
    }

    /// The same, with memory that is added by `add`.
    fn written_by(threads: Option<u32>, add: impl Fn(&mut Buckets, u64, &[u8], &mut Put<'_>)) -> Vec<u8> {
        let settings = Compression {
            transfer_size: 1 << 20,
            parallelism: threads.unwrap_or(0),
        };
        let mut file = Vec::new();
        let mut put = |bytes: &[u8]| {
            file.extend_from_slice(bytes);
            Ok(())
        };
        let mut buckets = Buckets::new(settings, 0);
        if threads.is_none() {
            buckets.workers = Some(BucketWorkers {
                jobs: None,
                threads: Vec::new(),
            });
        }
        for range in 0..9_u64 {
            let (start, size) = (range << 24, 300_000 * (range + 1));
            let byte = |at: u64| {
                if at / 70_000 % 3 == 1 {
                    0
                } else {
                    ((at * at) >> 7) as u8
                }
            };
            let memory: Vec<u8> = (0..size).map(byte).collect();
            buckets.begin(size, &mut put).unwrap();
            add(&mut buckets, start, &memory, &mut put);
        }
        let header = buckets.finish(&mut put).unwrap();
        file.extend(format::bytes([header]));
        file
    }

    #[test]
    fn the_bytes_do_not_depend_on_the_number_of_threads() {
        let one = written(Some(1));
        assert!(written(Some(2)) == one);
        assert!(written(Some(0)) == one);
        assert!(written(None) == one);
    }

    #[test]
    fn the_bytes_do_not_depend_on_how_memory_is_added() {
        let expected = written(None);
        for piece in [4096, 3 * 4096, 64 << 10, 256 << 10] {
            let direct = std::cell::Cell::new(0);
            let added = written_by(None, |buckets, start, memory, put| {
                for (part, at) in memory.chunks(piece).zip((start..).step_by(piece)) {
                    match buckets.room(at, part.len()) {
                        Some(room) => {
                            room.copy_from_slice(part);
                            buckets.added(at, part.len(), put).unwrap();
                            direct.set(direct.get() + 1);
                        }
                        None => buckets.add(at, part, put).unwrap(),
                    }
                }
            });
            assert!(added == expected, "{piece}");
            assert!(direct.get() > 10, "{piece}: {}", direct.get());
        }
    }

    #[test]
    fn runs_of_zeros_are_found() {
        let page = |byte: u8| [byte; 4096];
        let runs = |pages: &[u8]| {
            let bytes: Vec<u8> = pages.iter().flat_map(|byte| page(*byte)).collect();
            let ZeroRuns { first, last, longest } = ZeroRuns::of(&bytes);
            [first, last, longest].map(|len| len / 4096)
        };
        assert_eq!(runs(&[]), [0, 0, 0]);
        assert_eq!(runs(&[1]), [0, 0, 0]);
        assert_eq!(runs(&[0, 0]), [2, 2, 2]);
        assert_eq!(runs(&[0, 1, 0, 0, 0, 1, 0, 0]), [1, 2, 3]);
        assert_eq!(runs(&[1, 0, 0, 1]), [0, 0, 2]);
    }
}
