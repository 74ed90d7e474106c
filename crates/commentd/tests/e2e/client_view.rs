//! What the existing Python client sees.
