//! Homeservers.
