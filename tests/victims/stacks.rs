//! Functions of Rust whose names have modules, type arguments and traits. The main thread waits in
//!
//! main > pool::Worker::run > pool::twice<i64> > asleep
//!
//! and the thread "worker" in `<pool::Worker as pool::Job>::start`, which the closure of
//! `std::thread` calls.

use std::io::Write;
use std::process;
use std::sync::Barrier;
use std::thread;

static READY: Barrier = Barrier::new(2);

#[inline(never)]
fn asleep(argument: i64) {
    if argument == 1 {
        READY.wait();
    } else {
        let mut out = std::io::stdout();
        writeln!(out, "READY {{\"pid\":{}}}", process::id()).unwrap();
        out.flush().unwrap();
    }
    loop {
        thread::park();
    }
}

mod pool {
    use std::hint::black_box;

    #[inline(never)]
    fn twice<T: Copy + Into<i64>>(value: T) -> i64 {
        super::asleep(black_box(value.into()));
        black_box(value.into() * 2)
    }

    pub struct Worker;

    impl Worker {
        #[inline(never)]
        pub fn run(&self, value: i64) -> i64 {
            black_box(twice(black_box(value)) + 1)
        }
    }

    pub trait Job {
        fn start(&self) -> i64;
    }

    impl Job for Worker {
        #[inline(never)]
        fn start(&self) -> i64 {
            black_box(self.run(1) + 1)
        }
    }
}

fn main() {
    use pool::Job;
    let thread = thread::Builder::new().name("worker".into());
    thread.spawn(|| pool::Worker.start()).unwrap();
    READY.wait();
    println!("{}", pool::Worker.run(2));
}
