//! Output to a stream, and the links of a chain that take it over.

use super::*;

#[test]
fn output_streams_and_says_why_it_cannot() {
    let mut output = StreamOutput::new(Vec::new());
    let mut untouched = Vec::new();
    let report = dump(&mut process(), &request(0x2), Some(&mut output), &mut untouched).unwrap();
    assert_eq!(
        (untouched.len(), output.written(), report.bytes),
        (0, report.bytes, output.written())
    );
    assert!(output.into_inner() == plain(0x2));

    struct Full(usize);
    impl io::Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match bytes.len().min(self.0) {
                0 => Err(io::Error::new(io::ErrorKind::StorageFull, "no room")),
                count => {
                    self.0 -= count;
                    Ok(count)
                }
            }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut output = StreamOutput::new(Full(5000));
    let error = attempt(&mut process(), &request(0), &mut output).expect_err("no room");
    assert_eq!(error.hresult(), Hresult::DISK_FULL);
    assert_eq!(output.error().unwrap().to_string(), "no room");

    // A write to an earlier offset.
    let mut status = Hresult::E_FAIL;
    let mut output = StreamOutput::new(Vec::new());
    assert!(output.ask(Ask::IoWriteAll {
        handle: 0,
        offset: 32,
        bytes: &[1],
        status: &mut status
    }));
    assert_eq!(status, Hresult::E_FAIL);
    assert_eq!(output.error().unwrap().kind(), io::ErrorKind::NotSeekable);
}

#[test]
fn only_the_link_that_took_over_the_output_writes() {
    let mut bystander = |ask: Ask<'_>| {
        assert!(!matches!(ask, Ask::IoWriteAll { .. } | Ask::IoFinish { .. }));
        true
    };
    let (mut first, mut second) = (StreamOutput::new(Vec::new()), StreamOutput::new(Vec::new()));
    let mut chain = Chain::new()
        .then_mut(&mut bystander)
        .then_mut(&mut first)
        .then_mut(&mut second);
    dump(&mut process(), &request(0), Some(&mut chain), &mut Vec::new()).unwrap();
    drop(chain);
    assert!(first.into_inner() == plain(0));
    assert_eq!(second.written(), 0);
}

#[test]
fn kernel_dumps_are_told_to_the_link_that_asked_for_one() {
    let told = RefCell::new(Vec::new());
    let link = |name: &'static str, wanted: u64| {
        let told = &told;
        move |ask: Ask<'_>| {
            match ask {
                Ask::WriteKernelMinidump { handle } => *handle = wanted,
                Ask::KernelMinidumpStatus { .. } => told.borrow_mut().push(name),
                _ => {}
            }
            true
        }
    };
    run(
        0,
        &mut Chain::new()
            .then(link("none", 0))
            .then(link("first", 4))
            .then(link("second", 8)),
    );
    assert_eq!(*told.borrow(), ["first"]);
}
