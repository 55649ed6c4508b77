//! The pool layer.
