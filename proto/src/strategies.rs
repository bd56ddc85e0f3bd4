//! Strategies that draw any valid value.
