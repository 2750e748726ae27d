//! Readers for the texts that people write for dumpwright, such as scenarios and scripts.
//!
//! The crate provides TOML values with their positions, mistakes with line, column and excerpt, and
//! suggestions for misspelled names.
//!
//! A [`Source`] is a text and the name of its file. [`Source::read`] parses the text as TOML and
//! passes the document to a reader as [`Fields`]. The reader reports each mistake and continues, so
//! one [`TextError`] contains all mistakes:
//!
//! ```
//! use dumpwright_text::{Source, Value};
//!
//! let source = Source::new("case.toml", "size = \"small\"\nwidht = 2\n");
//! let error = source
//!     .read("a case", &["size", "width"], |fields| {
//!         let size = fields.required("size", Value::u64);
//!         let width = fields.get_or("width", Value::u64, 1);
//!         Ok(size? * width)
//!     })
//!     .unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     r#"
//! case.toml:1:8: expected an integer, found the string "small"
//!   |
//! 1 | size = "small"
//!   |        ^^^^^^^
//! case.toml:2:1: a case has no key "widht"; did you mean "width"?
//!   |
//! 2 | widht = 2
//!   | ^^^^^
//! "#
//!     .trim_matches('\n')
//! );
//! assert_eq!(error.mistakes()[1].line(), 2);
//! ```
//!
//! Hostile texts cost time and memory in proportion to their size. At most [`KEPT`] mistakes have a
//! message, and the rest are only counted. The length of messages and excerpts is limited.

#![forbid(unsafe_code)]

mod error;
mod fields;
mod hint;
mod mistakes;
mod number;
pub mod protection;
mod source;
mod value;

pub use error::{Mistake, SHOWN, TextError};
pub use fields::Fields;
pub use hint::{hint, list, nearest};
pub use mistakes::{KEPT, Listed, Mistakes, Parsed, Reported};
pub use number::{number, size};
pub use source::Source;
pub use value::Value;
