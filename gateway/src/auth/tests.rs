//! Signature verification against Amazon's published examples.
