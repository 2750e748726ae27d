use crate::Target;
use crate::native::sim::SimProcess;
use crate::protocol::Symbols;

/// What a callback can be rehearsed on: a target whose places may have names.
///
/// Simulated and live processes are, by value and by reference. For any other target there is [`AnyTarget`].
pub trait Subject {
    /// The target.
    fn target(&mut self) -> &mut dyn Target;

    /// The names of places in it, for the dialogue.
    fn symbols(&self) -> Symbols;
}

impl Subject for SimProcess {
    fn target(&mut self) -> &mut dyn Target {
        self
    }

    fn symbols(&self) -> Symbols {
        Symbols::new().names_of(SimProcess::symbols(self).iter())
    }
}

#[cfg(all(feature = "native", target_os = "linux"))]
impl Subject for crate::native::Process {
    fn target(&mut self) -> &mut dyn Target {
        self
    }

    fn symbols(&self) -> Symbols {
        Symbols::live()
    }
}

impl<S: Subject> Subject for &mut S {
    fn target(&mut self) -> &mut dyn Target {
        S::target(self)
    }

    fn symbols(&self) -> Symbols {
        S::symbols(self)
    }
}

/// Any target, without names.
#[derive(Debug)]
pub struct AnyTarget<T>(pub T);

impl<T: Target> Subject for AnyTarget<T> {
    fn target(&mut self) -> &mut dyn Target {
        &mut self.0
    }

    fn symbols(&self) -> Symbols {
        Symbols::new()
    }
}
