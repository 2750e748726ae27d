use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::Range;

use crate::{Source, TextError};

/// The number of mistakes in a text that are kept with their messages. Further mistakes are only
/// counted.
pub const KEPT: usize = 200;

/// Proof that a mistake has been reported.
///
/// Only [`Mistakes::report`] creates it, so a function that fails with it cannot fail without a
/// message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reported(());

/// The result of reading something whose mistakes have been reported.
pub type Parsed<T> = Result<T, Reported>;

/// The mistakes that have been found in a text so far.
#[derive(Debug)]
pub struct Mistakes<'s> {
    source: &'s Source,
    found: RefCell<Vec<(Range<usize>, String)>>,
    more: Cell<usize>,
}

impl<'s> Mistakes<'s> {
    /// Creates an empty list of mistakes for this text.
    #[must_use]
    pub fn new(source: &'s Source) -> Self {
        Self {
            source,
            found: RefCell::default(),
            more: Cell::new(0),
        }
    }

    /// Returns the text.
    #[must_use]
    pub fn source(&self) -> &'s Source {
        self.source
    }

    /// Reports a mistake at these bytes of the text.
    ///
    /// The message is formatted only if the mistake is kept, so `message` may be a `format_args!`
    /// with a [`hint`](crate::hint()) in it.
    pub fn report(&self, span: Range<usize>, message: impl fmt::Display) -> Reported {
        if self.is_full() {
            self.more.set(self.more.get() + 1);
        } else {
            let message = message.to_string();
            self.found.borrow_mut().push((span, message));
        }
        Reported(())
    }

    /// Returns whether further mistakes are only counted.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.found.borrow().len() >= KEPT
    }

    /// Returns all mistakes as an error, or `None` if there are none.
    #[must_use]
    pub fn finish(self) -> Option<TextError> {
        let mistakes = self.source.locate(self.found.into_inner());
        TextError::with_more(mistakes, self.more.get())
    }
}

/// The items of a list that could be read.
#[derive(Debug)]
pub struct Listed<T> {
    /// The items without mistakes, in their order.
    pub items: Vec<T>,
    /// Whether these are all items of the list.
    pub all: Parsed<()>,
}

impl<T> Listed<T> {
    /// Returns the items if all of the list could be read.
    ///
    /// # Errors
    /// The list contains mistakes, which have been reported.
    pub fn complete(self) -> Parsed<Vec<T>> {
        self.all.map(|()| self.items)
    }

    /// Calls `read` for each item and collects the results.
    pub fn each<'l, U>(&'l self, read: impl FnMut(&'l T) -> Parsed<U>) -> Listed<U> {
        let mut list: Listed<U> = self.items.iter().map(read).collect();
        list.all = self.all.and(list.all);
        list
    }
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            all: Ok(()),
        }
    }
}

impl<T> FromIterator<Parsed<T>> for Listed<T> {
    fn from_iter<I: IntoIterator<Item = Parsed<T>>>(outcomes: I) -> Self {
        let mut list = Self::default();
        list.extend(outcomes);
        list
    }
}

impl<T> Extend<Parsed<T>> for Listed<T> {
    fn extend<I: IntoIterator<Item = Parsed<T>>>(&mut self, outcomes: I) {
        for outcome in outcomes {
            match outcome {
                Ok(item) => self.items.push(item),
                Err(reported) => self.all = Err(reported),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_beyond_the_limit_are_counted_without_formatting_a_message() {
        struct Counted<'c>(&'c Cell<usize>);
        impl fmt::Display for Counted<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.set(self.0.get() + 1);
                f.write_str("wrong")
            }
        }
        let source = Source::new("t", "x".repeat(100_000));
        let mistakes = Mistakes::new(&source);
        let made = Cell::new(0);
        for at in 0..100_000 {
            mistakes.report(at..at + 1, Counted(&made));
        }
        assert_eq!(made.get(), KEPT);
        let error = mistakes.finish().unwrap();
        assert_eq!(error.count(), 100_000);
        assert_eq!(error.mistakes().len(), KEPT);
        assert!(error.to_string().ends_with("and 99950 more mistakes"));
    }

    #[test]
    fn a_list_is_read_past_a_mistake() {
        let source = Source::new("t", "abc");
        let mistakes = Mistakes::new(&source);
        let list: Listed<_> = [1, 2, 3, 4]
            .into_iter()
            .map(|number| match number {
                2 | 3 => Err(mistakes.report(number..number, "wrong")),
                _ => Ok(number),
            })
            .collect();
        assert_eq!(list.items, [1, 4]);
        assert!(list.each(|number| Ok(number + 1)).complete().is_err());
        assert_eq!(mistakes.finish().unwrap().count(), 2);
    }
}
