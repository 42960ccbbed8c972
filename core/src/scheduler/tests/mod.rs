//! Batching never changes an answer: whatever stands together in the queue, every caller gets what it would get alone.

mod config;
mod disturbance;
mod fake;
mod gathering;
mod interleavings;
mod steps;
mod threads;
mod waking;
