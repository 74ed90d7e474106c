//! The same key again: at once, later, after a crash, with another text.
