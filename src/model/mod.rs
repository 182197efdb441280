//! A model directory on disk.
