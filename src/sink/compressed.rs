//! A sink that compresses the dump with zstd.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use byteorder::{ByteOrder, LE};
use zstd::bulk::Compressor;

use super::Sink;
use crate::Error;

/// The number of bytes of the dump in each frame, except for the last one. A reader decompresses a
/// whole frame for each byte that it needs. At level 1, zstd finds repetitions only within 512 KiB,
/// so larger frames would hardly be better compressed.
const FRAME: usize = 1 << 20;

/// The maximum number of threads that compress. Six of them are faster than the reads of a live
/// process, and each needs memory.
const MOST_WORKERS: usize = 6;

/// The size in bytes of the stack of a worker. zstd keeps its tables on the heap.
const WORKER_STACK: usize = 256 << 10;

/// The maximum number of frames in a seek table (`ZSTD_SEEKABLE_MAXFRAMES` of zstd's own
/// implementation of the format).
const MOST_FRAMES: u64 = 0x800_0000;

/// The maximum number of bytes of identical frames that are passed on at once.
const LARGEST_REPETITION: usize = 64 << 10;

/// A sink that compresses the dump with [zstd] and passes the compressed bytes to another sink.
///
/// The output is a sequence of independent zstd frames of 1 MiB of the dump each, and a seek table
/// in a skippable frame: zstd's [seekable format]. `zstd -d` decompresses it as a whole, and
/// [`read::Dump::open`](crate::read::Dump::open) reads it at any offset without decompressing the
/// rest. Each frame has a checksum.
///
/// Frames are compressed by one thread for each processor that the system gives to this process,
/// at most 6. The threads start when the first frame is full, so a small dump needs none. Memory
/// does not depend on the size of the dump. At level 1 it is about 5 MiB for each thread, at level
/// 19 about 30 MiB.
///
/// ```
/// # let mut process = dumpwright_sim::SimProcess::new(1);
/// use dumpwright::read::Dump;
/// use dumpwright::{CompressedSink, DumpType, Request, dump};
///
/// let request = Request::new(DumpType::NORMAL);
/// let mut sink = CompressedSink::new(Vec::new(), CompressedSink::DEFAULT_LEVEL)?;
/// let report = dump(&mut process, &request, None, &mut sink)?;
/// let compressed = sink.into_inner();
/// assert_eq!(Dump::from_bytes(compressed)?.len(), report.bytes);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// [zstd]: https://facebook.github.io/zstd/
/// [seekable format]: https://github.com/facebook/zstd/blob/dev/contrib/seekable_format/zstd_seekable_compression_format.md
pub struct CompressedSink<S> {
    inner: S,
    level: i32,
    /// The number of bytes that `inner` has received.
    written: u64,
    /// The beginning of the next frame: less than a frame.
    frame: Vec<u8>,
    /// The number of zeros that follow `frame`: together less than a frame.
    zeros: usize,
    /// The frames that `inner` has not received, in their order.
    queue: VecDeque<Queued>,
    workers: Option<Workers>,
    /// Compresses what is not worth a thread, and everything if the system refuses threads.
    own: Option<FrameEncoder>,
    /// A compressed frame of zeros.
    zero_frame: Vec<u8>,
    /// Buffers to be used again.
    spare: Vec<Buffers>,
    table: SeekTable,
}

impl CompressedSink<Vec<u8>> {
    /// The level of `--compress zstd`. It is zstd's fastest one, because the target of a full dump
    /// is suspended while its memory is compressed.
    pub const DEFAULT_LEVEL: i32 = 1;

    /// The supported levels. The higher the level, the smaller the dump, and the more time it
    /// takes.
    pub const LEVELS: RangeInclusive<i32> = 1..=19;
}

impl<S: Sink> CompressedSink<S> {
    /// Creates a sink that compresses with this level and passes the result to `inner`.
    ///
    /// # Errors
    /// If the level is not one of [`LEVELS`](CompressedSink::LEVELS).
    pub fn new(inner: S, level: i32) -> Result<Self, Error> {
        let levels = CompressedSink::LEVELS;
        if !levels.contains(&level) {
            return Err(Error::InvalidRequest(format!(
                "there is no compression level {level}; use one from {} to {}",
                levels.start(),
                levels.end()
            )));
        }
        Ok(Self {
            inner,
            level,
            written: 0,
            frame: Vec::new(),
            zeros: 0,
            queue: VecDeque::new(),
            workers: None,
            own: None,
            zero_frame: Vec::new(),
            spare: Vec::new(),
            table: SeekTable::default(),
        })
    }

    /// Returns how many compressed bytes the inner sink has received so far. After a dump, this is
    /// the size of the whole output.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Returns the inner sink.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.inner
    }

    fn pass_on(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.inner.append(self.written, bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Adds the pending zeros to the frame.
    fn materialise_zeros(&mut self) {
        self.frame.resize(self.frame.len() + self.zeros, 0);
        self.zeros = 0;
    }

    /// Gives the full frame to a worker. Waits if the workers have enough to do.
    fn submit_full_frame(&mut self) -> io::Result<()> {
        if self.workers.is_none() {
            self.workers = Some(Workers::start(self.level));
        }
        let limit = self.workers.as_ref().map_or(0, Workers::limit);
        if limit == 0 {
            return self.compress_here();
        }
        let buffers = self.take_frame();
        let (reply, result) = sync_channel(1);
        let workers = self.workers.as_ref().expect("started above");
        workers.compress(buffers, reply)?;
        self.queue.push_back(Queued::Frame(result));
        self.advance(limit)
    }

    /// Compresses the frame on this thread.
    fn compress_here(&mut self) -> io::Result<()> {
        self.advance(0)?;
        let mut buffers = self.take_frame();
        encoder(&mut self.own, self.level)?.encode(&mut buffers)?;
        self.write_frame(buffers)
    }

    /// Returns the frame, and starts a new one.
    fn take_frame(&mut self) -> Buffers {
        let mut buffers = self.spare.pop().unwrap_or_default();
        std::mem::swap(&mut buffers.plain, &mut self.frame);
        self.frame.clear();
        buffers
    }

    /// Adds frames of zeros.
    fn add_zero_frames(&mut self, count: u64) -> io::Result<()> {
        if self.zero_frame.is_empty() {
            let mut zeros = Buffers {
                plain: vec![0; FRAME],
                compressed: Vec::new(),
            };
            encoder(&mut self.own, self.level)?.encode(&mut zeros)?;
            self.zero_frame = zeros.compressed;
        }
        match self.queue.back_mut() {
            Some(Queued::Zeros(before)) => {
                *before += count;
                Ok(())
            }
            Some(Queued::Frame(_)) => {
                self.queue.push_back(Queued::Zeros(count));
                Ok(())
            }
            None => self.write_zero_frames(count),
        }
    }

    /// Passes on the frames at the front of the queue that are compressed. Waits for the first ones
    /// if there are more than `limit` others.
    fn advance(&mut self, limit: usize) -> io::Result<()> {
        while let Some(first) = self.queue.front() {
            let gone = || io::Error::other("a thread that compresses the dump has ended");
            let frame = match first {
                Queued::Zeros(count) => {
                    let count = *count;
                    self.queue.pop_front();
                    self.write_zero_frames(count)?;
                    continue;
                }
                Queued::Frame(result) if self.queue.len() > limit => result.recv().map_err(|_| gone())?,
                Queued::Frame(result) => match result.try_recv() {
                    Ok(frame) => frame,
                    Err(TryRecvError::Empty) => return Ok(()),
                    Err(TryRecvError::Disconnected) => return Err(gone()),
                },
            };
            self.queue.pop_front();
            self.write_frame(frame?)?;
        }
        Ok(())
    }

    fn write_frame(&mut self, buffers: Buffers) -> io::Result<()> {
        self.pass_on(&buffers.compressed)?;
        self.table.add(buffers.compressed.len(), buffers.plain.len(), 1)?;
        self.spare.push(buffers);
        Ok(())
    }

    fn write_zero_frames(&mut self, count: u64) -> io::Result<()> {
        let frame = std::mem::take(&mut self.zero_frame);
        self.table.add(frame.len(), FRAME, count)?;
        let most = count.min((LARGEST_REPETITION / frame.len()) as u64);
        let several = frame.repeat(usize::try_from(most).expect("at most LARGEST_REPETITION"));
        let mut left = count;
        while left > 0 {
            let now = left.min(most);
            self.pass_on(&several[..usize::try_from(now).expect("at most most") * frame.len()])?;
            left -= now;
        }
        self.zero_frame = frame;
        Ok(())
    }
}

impl<S: Sink> Sink for CompressedSink<S> {
    fn append(&mut self, _: u64, bytes: &[u8]) -> io::Result<()> {
        self.materialise_zeros();
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.frame.capacity() < FRAME {
                self.frame.reserve_exact(FRAME - self.frame.len());
            }
            let (now, later) = rest.split_at(rest.len().min(FRAME - self.frame.len()));
            self.frame.extend_from_slice(now);
            rest = later;
            if self.frame.len() == FRAME {
                self.submit_full_frame()?;
            }
        }
        Ok(())
    }

    fn append_zeros(&mut self, _: u64, len: u64) -> io::Result<()> {
        let mut left = len;
        let room = FRAME - self.frame.len() - self.zeros;
        if !self.frame.is_empty() && left >= room as u64 {
            self.frame.resize(FRAME, 0);
            self.zeros = 0;
            left -= room as u64;
            self.submit_full_frame()?;
        }
        left += self.zeros as u64;
        let count = if self.frame.is_empty() {
            left / FRAME as u64
        } else {
            0
        };
        self.zeros = usize::try_from(left - count * FRAME as u64).expect("less than a frame");
        if count > 0 {
            self.add_zero_frames(count)?;
        }
        Ok(())
    }

    fn prepare(&mut self) -> Result<(), Error> {
        self.inner.prepare()
    }

    // `announce` is not passed on: the number of compressed bytes is not known.

    fn path(&self) -> Option<&Path> {
        self.inner.path()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.materialise_zeros();
        if !self.frame.is_empty() {
            self.compress_here()?;
        }
        self.advance(0)?;
        self.workers = None;
        let table = std::mem::take(&mut self.table);
        table.write(|bytes| self.pass_on(bytes))?;
        self.inner.finish()
    }
}

impl<S: fmt::Debug> fmt::Debug for CompressedSink<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompressedSink")
            .field("inner", &self.inner)
            .field("level", &self.level)
            .field("written", &self.written)
            .finish_non_exhaustive()
    }
}

/// Frames that wait for those before them.
enum Queued {
    /// A frame that a worker compresses.
    Frame(Receiver<io::Result<Buffers>>),
    /// This number of frames of zeros.
    Zeros(u64),
}

/// The bytes of a frame, and the same bytes compressed.
#[derive(Default)]
struct Buffers {
    plain: Vec<u8>,
    compressed: Vec<u8>,
}

struct FrameEncoder(Compressor<'static>);

impl FrameEncoder {
    fn new(level: i32) -> io::Result<Self> {
        let mut compressor = Compressor::new(level)?;
        compressor.include_checksum(true)?;
        compressor.include_contentsize(true)?;
        Ok(Self(compressor))
    }

    fn encode(&mut self, buffers: &mut Buffers) -> io::Result<()> {
        buffers.compressed.clear();
        buffers
            .compressed
            .reserve_exact(zstd::zstd_safe::compress_bound(buffers.plain.len()));
        self.0
            .compress_to_buffer(&buffers.plain, &mut buffers.compressed)
            .map(drop)
    }
}

/// Returns the encoder of this thread. Creates it if there is none.
fn encoder(own: &mut Option<FrameEncoder>, level: i32) -> io::Result<&mut FrameEncoder> {
    Ok(match own {
        Some(encoder) => encoder,
        None => own.insert(FrameEncoder::new(level)?),
    })
}

/// A frame to be compressed, and where the result goes.
type CompressionJob = (Buffers, SyncSender<io::Result<Buffers>>);

/// The threads that compress. Dropping this waits for their end.
struct Workers {
    /// `None` while this is being dropped: the threads end when there is no sender.
    jobs: Option<Sender<CompressionJob>>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts the threads, as far as the system allows.
    fn start(level: i32) -> Self {
        let (jobs, queue) = channel();
        let queue = Arc::new(Mutex::new(queue));
        let count = thread::available_parallelism().map_or(1, |count| count.get().min(MOST_WORKERS));
        let threads = (0..count).map_while(|_| {
            let queue = Arc::clone(&queue);
            thread::Builder::new()
                .name("dumpwright-zstd".to_owned())
                .stack_size(WORKER_STACK)
                .spawn(move || work(&queue, level))
                .ok()
        });
        Self {
            threads: threads.collect(),
            jobs: Some(jobs),
        }
    }

    /// The number of frames that may wait: two for each worker, so that none of them is idle while
    /// the output takes a frame.
    fn limit(&self) -> usize {
        2 * self.threads.len()
    }

    fn compress(&self, buffers: Buffers, reply: SyncSender<io::Result<Buffers>>) -> io::Result<()> {
        let jobs = self.jobs.as_ref().expect("only drop takes it");
        jobs.send((buffers, reply))
            .map_err(|_| io::Error::other("the threads that compress the dump have ended"))
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // A panic has already been printed, and the dump has failed because of it.
            drop(thread.join());
        }
    }
}

/// Compresses frames until there are no more.
fn work(queue: &Mutex<Receiver<CompressionJob>>, level: i32) {
    let mut own = None;
    loop {
        let Ok(Ok((mut buffers, reply))) = queue.lock().map(|queue| queue.recv()) else {
            return;
        };
        let encoded = encoder(&mut own, level).and_then(|encoder| encoder.encode(&mut buffers));
        // Nobody waits for the result if the dump has failed.
        drop(reply.send(encoded.map(|()| buffers)));
    }
}

/// The seek table: the sizes of all frames. Equal neighbours are stored once, so that gigabytes of
/// zeros take no memory.
#[derive(Default)]
struct SeekTable {
    runs: Vec<EqualFrames>,
    frames: u64,
}

/// Neighbouring frames with the same sizes.
struct EqualFrames {
    compressed: u32,
    plain: u32,
    count: u64,
}

impl SeekTable {
    /// The magic number of the skippable frame that the format uses.
    const SKIPPABLE_MAGIC: u32 = 0x184D_2A5E;
    /// The magic number at the end of the table.
    const SEEKABLE_MAGIC: u32 = 0x8F92_EAB1;
    /// The size in bytes of an entry without a checksum. The frames have their own checksums.
    const ENTRY: u32 = 8;
    /// The size in bytes of what follows the entries: the number of frames (4), the descriptor (1)
    /// and the magic number (4).
    const FOOTER: u32 = 9;

    fn add(&mut self, compressed: usize, plain: usize, count: u64) -> io::Result<()> {
        self.frames += count;
        if self.frames > MOST_FRAMES {
            let reason = format!(
                "a compressed dump has at most {MOST_FRAMES} MiB; write this one without compression"
            );
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
        }
        let size = |bytes: usize| u32::try_from(bytes).expect("about a MiB");
        let (compressed, plain) = (size(compressed), size(plain));
        match self.runs.last_mut() {
            Some(last) if (last.compressed, last.plain) == (compressed, plain) => last.count += count,
            _ => self.runs.push(EqualFrames {
                compressed,
                plain,
                count,
            }),
        }
        Ok(())
    }

    /// Passes the skippable frame with the table to `output`, in parts.
    fn write(&self, mut output: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let frames = u32::try_from(self.frames).expect("at most MOST_FRAMES");
        let mut bytes = vec![0; 8];
        LE::write_u32(&mut bytes, Self::SKIPPABLE_MAGIC);
        LE::write_u32(&mut bytes[4..], frames * Self::ENTRY + Self::FOOTER);
        for run in &self.runs {
            for _ in 0..run.count {
                bytes.extend(run.compressed.to_le_bytes());
                bytes.extend(run.plain.to_le_bytes());
                if bytes.len() >= LARGEST_REPETITION {
                    output(&bytes)?;
                    bytes.clear();
                }
            }
        }
        bytes.extend(frames.to_le_bytes());
        // The descriptor: no checksums.
        bytes.push(0);
        bytes.extend(Self::SEEKABLE_MAGIC.to_le_bytes());
        output(&bytes)
    }
}

/// What this test would catch: a dump that fails where the system refuses more threads.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_threads_frames_are_compressed_by_the_caller() {
        let bytes: Vec<u8> = (0..5 * FRAME / 2).map(|at| (at / 7) as u8).collect();
        let compressed = |workers| {
            let mut sink = CompressedSink::new(Vec::new(), 1).unwrap();
            sink.workers = workers;
            sink.append(0, &bytes).unwrap();
            sink.append_zeros(bytes.len() as u64, 3 * FRAME as u64).unwrap();
            sink.finish().unwrap();
            sink.into_inner()
        };
        let none = Workers {
            jobs: None,
            threads: Vec::new(),
        };
        assert!(compressed(Some(none)) == compressed(None));
    }
}
