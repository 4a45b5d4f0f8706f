//! Development helpers: golden vectors, finite differences, brute force.
