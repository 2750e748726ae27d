use crate::Target;
use crate::protocol::Symbols;
use crate::sim::SimProcess;

/// A target that a callback can be rehearsed on, with names for places in its memory.
///
/// Simulated and live processes implement it, by value and by mutable reference. [`AnyTarget`]
/// wraps any other target.
pub trait TestTarget {
    /// Returns the target.
    fn target(&mut self) -> &mut dyn Target;

    /// Returns the names of places in the target, which the dialogue shows in place of addresses.
    fn symbols(&self) -> Symbols;
}

impl TestTarget for SimProcess {
    fn target(&mut self) -> &mut dyn Target {
        self
    }

    fn symbols(&self) -> Symbols {
        Symbols::new().names_of(SimProcess::symbols(self).iter())
    }
}

#[cfg(all(feature = "native", target_os = "linux"))]
impl TestTarget for crate::native::Process {
    fn target(&mut self) -> &mut dyn Target {
        self
    }

    fn symbols(&self) -> Symbols {
        Symbols::live()
    }
}

impl<S: TestTarget> TestTarget for &mut S {
    fn target(&mut self) -> &mut dyn Target {
        S::target(self)
    }

    fn symbols(&self) -> Symbols {
        S::symbols(self)
    }
}

/// Wraps any target. Its places have no names.
#[derive(Debug)]
pub struct AnyTarget<T>(pub T);

impl<T: Target> TestTarget for AnyTarget<T> {
    fn target(&mut self) -> &mut dyn Target {
        &mut self.0
    }

    fn symbols(&self) -> Symbols {
        Symbols::new()
    }
}
