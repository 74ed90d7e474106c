//! Where *not sent* and *maybe sent* part, on real sockets.
